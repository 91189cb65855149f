"""Where reading goes on: at what the group has committed, else at the earliest record; never at the end.

Raises what Kafka's client raises, TimeoutError, and LevelgateError where the broker did not answer as it should.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from levelgate.broker import committed_offsets
from processors.partitions import Number
from schemas.logs import get_logger
from schemas.settings import Kafka

log = get_logger(__name__)

_CALL_TIMEOUT_S = 10.0


async def begin(client: AIOKafkaConsumer, numbers: Collection[Number], *, kafka: Kafka, group: str) -> None:
    """Start each partition of `numbers` at its committed offset, else at its earliest record."""
    partitions = [tp for held in numbers for tp in held.trackers]
    # Not by the client: it asks for one partition at a time, on the connection of its heartbeats, and takes a
    # coordinator's error for an answer without offsets (aiokafka 0.14).
    committed = await committed_offsets(kafka, group, partitions)
    unknown = [tp for tp in partitions if tp not in committed]
    async with asyncio.timeout(_CALL_TIMEOUT_S):
        starts = committed | (await client.beginning_offsets(unknown) if unknown else {})
    for held in numbers:
        for tp in held.trackers:
            held.begin(tp, starts[tp])
            client.seek(tp, starts[tp])


async def skip_lost(
    client: AIOKafkaConsumer,
    numbers: Mapping[int, Number],
    offsets: Mapping[TopicPartition, int],
    *,
    lost: Callable[[TopicPartition, int], None],
    timeout_s: float = _CALL_TIMEOUT_S,
) -> bool:
    """Go on at the earliest record where retention took what was to be read next at `offsets`.

    `lost` is told how many were taken. False where the broker did not say: the next fetch finds the same again.
    """
    try:
        async with asyncio.timeout(timeout_s):
            earliest = await client.beginning_offsets(list(offsets))
        for tp, offset in offsets.items():
            held = numbers.get(tp.partition)
            if held is None or tp not in held.trackers:
                continue
            client.seek(tp, earliest[tp])
            held.begin(tp, earliest[tp])
            lost(tp, max(0, earliest[tp] - offset))
            log.error("offsets_lost", topic=tp.topic, partition=tp.partition, first=offset, next=earliest[tp])
    except (KafkaError, TimeoutError) as error:
        log.warning("earliest_unknown", error=type(error).__name__)
        return False
    return True
