"""How much of replays the workers have before them: a replay waits in its source, not in Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from levelgate.broker import client_options, describe_topics, open_reader
from processors.replays.table import count_parked
from processors.sql import Pool
from schemas.errors import LevelgateError
from schemas.settings import Settings
from schemas.topics import Topics

MOST_OPEN = 2000
"""Deliveries of the replay topic that the group has not finished, and parked pairs of this replay, together."""

_CALL_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 5.0


class Open(msgspec.Struct, frozen=True):
    """What is published and not ended; None where Kafka can't say it just now."""

    unhandled: int | None
    """Of the topic, whichever replay they belong to."""
    parked: int
    """Of this replay."""

    def room(self, most: int) -> int:
        """Return how many may be published on top."""
        return 0 if self.unhandled is None else max(0, most - self.unhandled - self.parked)

    def __str__(self) -> str:
        """Return why there is no room, for the person who waits."""
        if self.unhandled is None:
            return "waits: Kafka does not say how far the workers are"
        return (
            f"waits for the workers: {self.unhandled} events of replays are not handled, "
            f"{self.parked} pairs of this one are parked"
        )


class Gauge:
    """Measures what is open of one replay."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        pool: Pool,
        *,
        group: str,
        partitions: list[TopicPartition],
        run: str,
        most: int,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._pool = pool
        self._group = group
        self._partitions = partitions
        self._run = run
        self._most = most

    async def measure(self) -> Open:
        """Ask Kafka and Postgres. Raises KafkaError where asking again would not help."""
        parked = await count_parked(self._pool, self._run, most=self._most)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return Open(await self._lag(), parked)
        except KafkaError as error:
            if not error.retriable:
                raise
            return Open(None, parked)

    async def _lag(self) -> int:
        committed = await self._admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
        ends = await self._consumer.end_offsets(self._partitions)
        starts = await self._consumer.beginning_offsets(self._partitions)
        finished = {tp: max(starts[tp], committed[tp].offset if tp in committed else -1) for tp in self._partitions}
        return sum(max(0, ends[tp] - finished[tp]) for tp in self._partitions)


@asynccontextmanager
async def open_gauge(settings: Settings, pool: Pool, run: str, *, most: int = MOST_OPEN) -> AsyncIterator[Gauge]:
    """Yield what measures the room of a replay. Raises KafkaError, TimeoutError; LevelgateError without the topic."""
    topic = Topics(settings.kafka).replay
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    async with open_reader(settings.kafka, settings.receiver.max_body_bytes) as consumer:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await admin.start()
            states = await describe_topics(settings.kafka, settings.receiver.max_body_bytes)
            (count,) = (each.partitions for each in states if each.name == topic)
            if not count:
                raise LevelgateError(f"Kafka has no topic {topic}: run `levelgate topics apply`")
            partitions = [TopicPartition(topic, number) for number in range(count)]
            yield Gauge(consumer, admin, pool, group=settings.worker.group, partitions=partitions, run=run, most=most)
        finally:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await admin.close()
