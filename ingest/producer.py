"""The receiver's producer: it counts as open when its cluster answers.

Never sends anything itself (`publisher` does), and never tries twice: whoever opens decides that.
"""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from levelgate.producer import FORCED_END_S, end_producer, start_producer
from schemas.settings import Kafka

_ASK_TIMEOUT_S = 3.0


async def open_producer(kafka: Kafka, max_body_bytes: int) -> AIOKafkaProducer:
    """Return a started idempotent producer that knows the cluster's topics.

    Raises: KafkaError, OSError or TimeoutError; nothing is left open then.
    """
    producer = await start_producer(kafka, max_body_bytes, linger_ms=0)  # the round trip is the linger (performance.md)
    try:
        await _expect_cluster(producer)
    except BaseException:
        await end_producer(producer, within_s=FORCED_END_S)
        raise
    return producer


async def _expect_cluster(producer: AIOKafkaProducer) -> None:
    if not await cluster_answers(producer):
        raise KafkaError("the cluster did not tell its topics")


async def cluster_answers(producer: AIOKafkaProducer) -> bool:
    """Ask the cluster for its topics; False where no broker answers in time.

    The client asks for all topics, since naming a missing one makes some brokers create it with one partition.
    """
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            return bool(await producer.client.force_metadata_update())
    except TimeoutError:
        return False


def partition_counts(producer: AIOKafkaProducer, topics: Iterable[str]) -> dict[str, int]:
    """Return the partition count of those of `topics` that the cluster has."""
    cluster = producer.client.cluster
    return {topic: len(found) for topic in topics if (found := cluster.partitions_for_topic(topic))}
