"""How much more of a replay may be published: it waits in its source, neither before the workers nor in Postgres.

What is parked does not stand before the workers. It has a bound of its own, so that a tenant that can't be worked on
does not hold up the others with the first few of its events.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from levelgate.broker import client_options, describe_topics, open_reader
from processors.replays.table import ParkedTenant, parked_by_tenant
from processors.sql import Pool
from schemas.errors import LevelgateError
from schemas.settings import Settings
from schemas.topics import Topics

_NAMED = 3

_CALL_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 5.0


class Bounds(msgspec.Struct, frozen=True):
    """How much of a replay may be under way."""

    unhandled: int = 2000
    """Deliveries of the replay topic that the group has not finished, whichever replay they belong to."""
    parked: int = 10_000
    """Pairs of this replay. Workers release so many lines of a reconnected tenant in one statement (decision 22)."""


BOUNDS = Bounds()


class Open(msgspec.Struct, frozen=True):
    """What is published and not ended."""

    unhandled: int | None
    """Deliveries of the topic, whichever replay they belong to; None where Kafka can't say it just now."""
    parked: tuple[ParkedTenant, ...]
    """Of this replay, without the tenants that it leaves out by now."""
    most: Bounds = BOUNDS

    @property
    def room(self) -> int:
        """How many may be published on top."""
        if self.unhandled is None:
            return 0
        return max(0, min(self.most.unhandled - self.unhandled, self.most.parked - self._pairs))

    @property
    def waits_for(self) -> str | None:
        """Why there is no room, for the person who waits; None where there is some."""
        if self.room:
            return None
        if self.unhandled is None:
            return "Kafka to say how far the workers are"
        if self._pairs < self.most.parked:
            return f"the workers: {self.unhandled} events of replays are not handled"
        named = ", ".join(map(str, self.parked[:_NAMED]))
        more = f" and {len(self.parked) - _NAMED} tenants more" if len(self.parked) > _NAMED else ""
        return (
            f"its {self._pairs} parked pairs, of {named}{more}; "
            "`replay pause`, then `replay resume --not-tenant TENANT` go on without one"
        )

    @property
    def _pairs(self) -> int:
        return sum(each.pairs for each in self.parked)


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
        not_tenants: Collection[str],
        most: Bounds,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._pool = pool
        self._group = group
        self._partitions = partitions
        self._run = run
        self._not_tenants = not_tenants
        self._most = most

    async def measure(self) -> Open:
        """Ask Kafka and Postgres. Raises KafkaError where asking again would not help."""
        found = await parked_by_tenant(self._pool, self._run)
        parked = tuple(each for each in found if each.tenant not in self._not_tenants)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return Open(await self._lag(), parked, self._most)
        except KafkaError as error:
            if not error.retriable:
                raise
            return Open(None, parked, self._most)

    async def _lag(self) -> int:
        committed = await self._admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
        ends = await self._consumer.end_offsets(self._partitions)
        starts = await self._consumer.beginning_offsets(self._partitions)
        finished = {tp: max(starts[tp], committed[tp].offset if tp in committed else -1) for tp in self._partitions}
        return sum(max(0, ends[tp] - finished[tp]) for tp in self._partitions)


@asynccontextmanager
async def open_gauge(
    settings: Settings, pool: Pool, run: str, *, not_tenants: Collection[str], most: Bounds
) -> AsyncIterator[Gauge]:
    """Yield what measures the room of a replay that leaves out `not_tenants`: their parked pairs do not count.

    Raises KafkaError, TimeoutError; LevelgateError without the topic.
    """
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
            yield Gauge(
                consumer,
                admin,
                pool,
                group=settings.worker.group,
                partitions=partitions,
                run=run,
                not_tenants=not_tenants,
                most=most,
            )
        finally:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await admin.close()
