"""Whether a worker's memory stays flat: its size at each tenth of many deliveries about ever new entities.

Reading ahead is part of it: the first tenth already has as much read and unfinished as the quotas allow.
"""

import asyncio
import time
from typing import Any

import asyncpg
import psutil
from prometheus_client import CollectorRegistry

from bench.parts import show
from bench.worker import publish
from levelgate.broker import apply_topics
from levelgate.migrations import migrate
from processors.app import Worker
from processors.registry import Handler, Registry
from schemas.settings import Settings

_TENANTS = 2_000
_EVENTS_OF_AN_ENTITY = 4
_PARTS = 10
_POLL_S = 0.02


def measure(settings: Settings, count: int) -> None:
    """Publish `count` deliveries, work them off with a handler that does nothing, and print the worker's size."""
    asyncio.run(_measure(settings, count))


async def _measure(settings: Settings, count: int) -> None:
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    await migrate(settings.database_url.get_secret_value())
    entities = _TENANTS * max(1, count // _EVENTS_OF_AN_ENTITY // _TENANTS)
    await publish(settings, count, tenants=_TENANTS, entities=entities)
    rows = await _work(settings, count)
    show(
        f"worker's memory: {count:,} deliveries, {_TENANTS:,} tenants, {entities:,} entities",
        ["handled", "events/s", "RSS, MiB", "since the first tenth, MiB"],
        [[f"{n:,}", f"{per_s:,.0f}", f"{mib:.1f}", f"{mib - rows[0][2]:+.1f}"] for n, per_s, mib in rows],
    )


async def _work(settings: Settings, count: int) -> list[tuple[int, float, float]]:
    """Return, for each tenth: deliveries handled so far, events/s since the tenth before, and MiB."""
    handled = 0

    async def nothing(_event: Any, _ctx: Any) -> None:  # noqa: ANN401 -- any event
        nonlocal handled
        handled += 1

    handler = Handler("bench.memory", ("ContactCreate",), nothing, built_in=False)
    worker = Worker(settings, Registry([handler]), CollectorRegistry())
    running = asyncio.create_task(worker.run())
    rows = []
    began = time.perf_counter()
    try:
        for part in range(1, _PARTS + 1):
            until, before = count * part // _PARTS, handled
            while handled < until:  # noqa: ASYNC110 -- the handler counts, there is no event to await
                await asyncio.sleep(_POLL_S)
            if part == _PARTS:
                await _until_recorded(settings, count)
            now = time.perf_counter()
            rows.append((handled, (handled - before) / (now - began), psutil.Process().memory_info().rss / 2**20))
            began = now
    finally:
        worker.stop()
        await running
    return rows


async def _until_recorded(settings: Settings, count: int) -> None:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        while await connection.fetchval("SELECT count(*) FROM handled") < count:  # noqa: ASYNC110 -- in Postgres
            await asyncio.sleep(1)
    finally:
        await connection.close()
