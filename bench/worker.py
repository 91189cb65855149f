"""The worker beside a bare `getmany` loop: handlers that do nothing, and handlers that wait 20 ms.

Each worker's run ends when the last pair is in the ledger.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from bench.parts import APP, show
from levelgate.broker import apply_topics, client_options
from levelgate.migrations import migrate
from processors.app import Worker
from processors.registry import Handler, Registry
from schemas.envelope import Envelope, to_headers
from schemas.ids import DeliveryId, EntityId, TenantId
from schemas.settings import Settings
from schemas.topics import Topics

_TENANTS = 200
_ENTITIES = 2_000
_WAIT_S = 0.02
_UNACKNOWLEDGED = 10_000


def measure(settings: Settings, count: int) -> None:
    """Publish `count` deliveries, work them off in three ways, and print the figures."""
    asyncio.run(_measure(settings, count))


async def _measure(settings: Settings, count: int) -> None:
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    await migrate(settings.database_url.get_secret_value())
    await publish(settings, count, tenants=_TENANTS, entities=_ENTITIES)
    bare = await _bare(settings, count)

    async def nothing(_event: Any, _ctx: Any) -> None:  # noqa: ANN401 -- any event
        return

    async def wait(_event: Any, _ctx: Any) -> None:  # noqa: ANN401 -- any event
        await asyncio.sleep(_WAIT_S)

    no_op = await work(settings, Handler("bench.no-op", ("ContactCreate",), nothing, built_in=False), count)
    waiting = await work(settings, Handler("bench.waiting", ("ContactCreate",), wait, built_in=False), count)
    bound = settings.worker.concurrency / _WAIT_S
    rows = [
        ("bare getmany(500), no ledger", bare, bare[0]),
        ("handler does nothing, ledger kept", no_op, bare[0]),
        ("handler waits 20 ms, 256 at once", waiting, bound),
    ]
    show(
        f"worker: {count:,} deliveries, {_TENANTS} tenants, {_ENTITIES:,} entities",
        ["what", "events/s", "of its bound", "CPU s per 10,000"],
        [[what, f"{per_s:,.0f}", f"{per_s / most:.3f}", f"{cpu:.2f}"] for what, (per_s, cpu), most in rows],
    )


async def publish(settings: Settings, count: int, *, tenants: int, entities: int) -> None:
    """Put `count` deliveries into Kafka, the entities taking turns; `tenants` divides `entities`."""
    topic = Topics(settings.kafka).events("contact")
    async with AIOKafkaProducer(**client_options(settings.kafka), acks="all", linger_ms=5) as producer:
        acknowledged = []
        for number in range(count):
            tenant, entity = f"location-{number % tenants}", f"contact-{number % entities}"
            envelope = Envelope(
                id=DeliveryId(f"bench-{number}"),
                type="ContactCreate",
                app=APP,
                tenant=TenantId(tenant),
                entity=EntityId(entity),
                received_at=datetime.now(UTC),
            )
            body = orjson.dumps({"type": "ContactCreate", "locationId": tenant, "id": entity, "email": "a@example.com"})
            acknowledged.append(await producer.send(topic, body, key=envelope.key, headers=to_headers(envelope)))
            if len(acknowledged) == _UNACKNOWLEDGED or number == count - 1:
                await asyncio.gather(*acknowledged)
                acknowledged.clear()


async def _bare(settings: Settings, count: int) -> tuple[float, float]:
    async with AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False) as consumer:
        topic = Topics(settings.kafka).events("contact")
        partitions = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        began, cpu, read = time.perf_counter(), time.process_time(), 0
        while read < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=500)
            read += sum(len(records) for records in batches.values())
        return _figures(began, cpu, count)


async def work(settings: Settings, handler: Handler, count: int) -> tuple[float, float]:
    """Run a worker until `handler` is done with `count` deliveries; return events/s and CPU s per 10,000."""
    # A group of its own reads everything; `handler` must have a name that nothing is recorded of yet.
    group = settings.worker.model_copy(update={"group": handler.name})
    worker = Worker(settings.model_copy(update={"worker": group}), Registry([handler]), CollectorRegistry())
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    running = asyncio.create_task(worker.run())
    try:
        while not worker.is_ready:  # noqa: ASYNC110 -- it has no event for this
            await asyncio.sleep(0.005)
        began, cpu = time.perf_counter(), time.process_time()
        query = "SELECT count(*) FROM handled WHERE handler = $1"
        while await connection.fetchval(query, handler.name) < count:  # noqa: ASYNC110 -- in Postgres
            await asyncio.sleep(0.05)
        return _figures(began, cpu, count)
    finally:
        worker.stop()
        await running
        await connection.close()


def _figures(began: float, cpu: float, count: int) -> tuple[float, float]:
    return count / (time.perf_counter() - began), (time.process_time() - cpu) * 10_000 / count
