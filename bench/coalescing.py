"""What coalescing saves: bursts of events of one entity, and a handler that takes its time, as one API call a run does.

A burst lies in Kafka when the worker starts, which is the best case; in life, what comes while an entity's handler
runs, or while its pairs are parked, is what folds.
"""

import asyncio
from typing import Any

from bench.parts import show
from bench.worker import publish, work
from levelgate import Overrides
from levelgate.broker import apply_topics
from levelgate.migrations import migrate
from processors.registry import Handler
from schemas.settings import Settings

_TENANTS = 8
_ENTITIES = 40
_BURSTS = (2, 10, 50)
_CALL_S = 0.05


def measure(settings: Settings) -> None:
    """Work off bursts of some sizes with coalescing off and on, and print the figures."""
    asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> None:
    await migrate(settings.database_url.get_secret_value())
    rows = []
    for size in _BURSTS:
        count = size * _ENTITIES
        kafka = settings.kafka.model_copy(update={"topic_prefix": f"bursts-{size}"})
        apart = settings.model_copy(update={"kafka": kafka})
        await apply_topics(kafka, settings.receiver.max_body_bytes)
        await publish(apart, count, tenants=_TENANTS, entities=_ENTITIES)
        for coalesce in (False, True):
            runs, per_s = await _work(apart, size, count, coalesce=coalesce)
            rows.append([f"{size}", "on" if coalesce else "off", f"{count:,}", f"{runs:,}", f"{count / per_s:.1f}"])
    show(
        f"coalescing: bursts of events of {_ENTITIES} entities, {_CALL_S * 1000:.0f} ms a run",
        ["events of an entity", "coalesce", "events", "runs", "seconds"],
        rows,
    )


async def _work(settings: Settings, size: int, count: int, *, coalesce: bool) -> tuple[int, float]:
    runs = 0

    async def read(_event: Any, _ctx: Any) -> None:  # noqa: ANN401 -- any event
        nonlocal runs
        runs += 1
        await asyncio.sleep(_CALL_S)

    name = f"bench.{'folding' if coalesce else 'each'}-{size}"
    handler = Handler(name, ("ContactCreate",), read, built_in=False, overrides=Overrides(coalesce=coalesce))
    per_s, _ = await work(settings, handler, count)
    return runs, per_s
