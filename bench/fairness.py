"""What one location's import costs the others: how long a single event of another tenant waits behind it.

The import's handlers take half a second each, as a slow API would make them: run one after the other through the
partition, the import would take minutes and hold up everybody behind it.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from bench.parts import APP, show
from levelgate.broker import apply_topics, client_options, partition_of
from levelgate.migrations import migrate
from processors.app import Worker
from processors.registry import Handler, Registry
from schemas.envelope import Envelope, to_headers
from schemas.ids import DeliveryId, EntityId, TenantId
from schemas.settings import Settings
from schemas.topics import Topics

_TYPE = "TaskCreate"
_IMPORT = "import"
_IMPORT_TAKES_S = 0.5
_LATER = 20


def measure(settings: Settings, count: int) -> None:
    """Publish an import of `count` events with another tenant's events behind it, and print how long these wait."""
    asyncio.run(_measure(settings, count))


async def _measure(settings: Settings, count: int) -> None:
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    await migrate(settings.database_url.get_secret_value())
    quiet = next(t for t in (f"quiet-{n}" for n in range(1000)) if _number(settings, t) == _number(settings, _IMPORT))
    async with AIOKafkaProducer(**client_options(settings.kafka), acks="all", linger_ms=5) as producer:
        await _publish(settings, producer, _IMPORT, count)
        await _publish(settings, producer, quiet, 1)
        read_s = await _bare(settings, count)
        behind_s, between_s = await _work(settings, producer, quiet)
    show(
        f"fairness: another tenant's event beside an import of {count:,} in its partition",
        ["what", "seconds", "of bare reading"],
        [
            ["bare getmany(500) reads the import", f"{read_s:.2f}", "1.0"],
            ["the event behind the whole import is handled", f"{behind_s:.2f}", f"{behind_s / read_s:.1f}"],
            [f"an event beside it, later (the slowest of {_LATER})", f"{between_s:.2f}", "-"],
        ],
    )


async def _work(settings: Settings, producer: AIOKafkaProducer, quiet: str) -> tuple[float, float]:
    """Return how long the event behind the import waits, and the slowest of some that come later."""
    handled = asyncio.Queue[None]()

    async def handle(_event: Any, ctx: Any) -> None:  # noqa: ANN401 -- any event
        if ctx.delivery.tenant == _IMPORT:
            await asyncio.sleep(_IMPORT_TAKES_S)
        else:
            handled.put_nowait(None)

    changes = {"group": "bench-fairness", "grace_s": 0.1}
    worker = Worker(
        settings.model_copy(update={"worker": settings.worker.model_copy(update=changes)}),
        Registry([Handler("bench.fairness", (_TYPE,), handle, built_in=False)]),
        CollectorRegistry(),
    )
    running = asyncio.create_task(worker.run())
    try:
        while not worker.is_ready:  # noqa: ASYNC110 -- it has no event for this
            await asyncio.sleep(0.005)
        began = time.perf_counter()
        await handled.get()
        behind_s, slowest_s = time.perf_counter() - began, 0.0
        for _ in range(_LATER):
            began = time.perf_counter()
            await _publish(settings, producer, quiet, 1)
            await handled.get()
            slowest_s = max(slowest_s, time.perf_counter() - began)
        return behind_s, slowest_s
    finally:
        worker.stop()
        await running


async def _publish(settings: Settings, producer: AIOKafkaProducer, tenant: str, count: int) -> None:
    topic = Topics(settings.kafka).events("task")
    acknowledged = []
    for number in range(count):
        entity = f"task-{number}"
        envelope = Envelope(
            id=DeliveryId(f"{tenant}-{time.time_ns()}-{number}"),
            type=_TYPE,
            app=APP,
            tenant=TenantId(tenant),
            entity=EntityId(entity),
            received_at=datetime.now(UTC),
        )
        body = orjson.dumps({"type": _TYPE, "locationId": tenant, "id": entity, "title": "imported"})
        acknowledged.append(await producer.send(topic, body, key=envelope.key, headers=to_headers(envelope)))
    for each in acknowledged:
        await each


async def _bare(settings: Settings, count: int) -> float:
    async with AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False) as consumer:
        partition = TopicPartition(Topics(settings.kafka).events("task"), _number(settings, _IMPORT))
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        began, read = time.perf_counter(), 0
        while read < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=500)
            read += sum(len(records) for records in batches.values())
        return time.perf_counter() - began


def _number(settings: Settings, tenant: str) -> int:
    return partition_of(tenant.encode(), settings.kafka.partitions)
