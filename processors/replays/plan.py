"""What a replay would come to: events by type and tenant, API calls, time. Counting reads; the estimate is pure."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Literal

import asyncpg
import msgspec

from levelgate.highlevel.budget import Allowance
from levelgate.highlevel.lanes import share_of
from levelgate.highlevel.spending import allowance
from processors.context import events_of
from processors.pairs import KEPT, Record
from processors.registry import Registry
from processors.replays.cursor import Gap
from processors.replays.room import BOUNDS
from processors.sql import Pool, fetch, queries
from schemas.catalogue import lookup
from schemas.errors import Poison
from schemas.settings import Vendor

_SQL = queries(__file__)

_SAMPLE_TIMEOUT_S = 10.0
_SAMPLE_BLOCKS = 4000
"""Of 8 kB, read here and there: some 50,000 pairs."""
_TELL_EVERY = 1000

MOST_A_SECOND = float(BOUNDS.unhandled)
"""Deliveries that a publisher can have room for, whatever its rate: the room is measured once a second."""


class Kind(msgspec.Struct, frozen=True):
    """Events that are counted together."""

    app: str
    tenant: str
    type: str
    handlers: tuple[str, ...]
    elements: int = 1
    """Of a list body: each is a run of each handler."""


class Measured(msgspec.Struct, frozen=True):
    """How many API calls a pair of a handler took lately."""

    calls: float
    """On average."""
    is_at_least: bool = False
    """Whether some took as many as are recorded of one, or more."""


_ASSUMED = Measured(1.0)
"""Of a handler none of whose runs was looked at."""


class TenantPlan(msgspec.Struct, frozen=True):
    """One tenant's part, of one app: budgets are by app and tenant."""

    app: str
    tenant: str
    deliveries: int
    api_calls: int
    duration_s: float
    """How long the calls take at the replays' share of its budget."""


class HandlerCalls(msgspec.Struct, frozen=True):
    """How many API calls a run of a handler takes on average; assumed where none of its runs was looked at."""

    handler: str
    pairs: int
    calls: float
    is_measured: bool
    is_at_least: bool
    """It may take more: no more than so many are recorded of a run."""


class Plan(msgspec.Struct, frozen=True):
    """What a replay would come to."""

    total: int
    by_type: dict[str, int]
    """The most first, as below."""
    by_tenant: tuple[TenantPlan, ...]
    handlers: tuple[HandlerCalls, ...]
    without_handler: int
    """Events that no handler of this configuration takes: published, and nothing runs."""
    api_calls: int
    duration_s: float
    bound_by: Literal["rate", "room", "budget"]
    """What takes so long: the rate, the room for events that are not handled yet, or the busiest tenant's budget."""
    day_share: int
    """API calls that replays may make for a tenant in a day."""
    over_day_share: tuple[TenantPlan, ...]
    """Tenants of which it takes more, and so days."""
    gaps: tuple[Gap, ...] = ()


async def count(records: AsyncIterator[Record], advance: Callable[[int], None]) -> Counter[Kind]:
    """Return how many events there are of each kind."""
    counts: Counter[Kind] = Counter()
    total = 0
    async for record in records:
        env = record.envelope
        counts[Kind(env.app, env.tenant, env.type, env.replay_handlers, _elements(record))] += 1
        total += 1
        if total % _TELL_EVERY == 0:
            advance(total)
    advance(total)
    return counts


def _elements(record: Record) -> int:
    known = lookup(record.envelope.type)
    if known is None or not known.list_body or record.envelope.replay_element is not None:
        return 1
    try:
        return len(events_of(record))
    except Poison:  # runs once, and fails
        return 1


async def recent_calls(pool: Pool, *, timeout_s: float = _SAMPLE_TIMEOUT_S) -> dict[str, Measured] | None:
    """Return how many API calls each handler's pairs took in the last day, by a sample; None if it takes too long."""
    try:
        async with asyncio.timeout(timeout_s):
            rows = await fetch(_SQL.recent_calls(pool, blocks=_SAMPLE_BLOCKS, kept=KEPT))
    except (TimeoutError, asyncpg.QueryCanceledError):
        return None
    return {row["handler"]: Measured(float(row["calls"]), row["is_at_least"]) for row in rows}


def estimate(
    counts: Mapping[Kind, int],
    registry: Registry,
    calls: Mapping[str, Measured],
    *,
    rate: float,
    vendor: Vendor,
    gaps: Iterable[Gap] = (),
) -> Plan:
    """Return the plan for events counted by `count`, at `rate` deliveries a second."""
    types: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    without_handler = 0
    for kind, number in counts.items():
        names = _handlers(kind, registry)
        types[kind.type] += number
        pairs.update(dict.fromkeys(names, number * kind.elements))
        without_handler += 0 if names else number
    by_tenant = _by_tenant(counts, registry, calls, allowance(vendor))
    rate_s = types.total() / min(rate, MOST_A_SECOND)
    budget_s = max((each.duration_s for each in by_tenant), default=0.0)
    day_share = share_of(vendor.daily_calls, "replay")
    return Plan(
        total=types.total(),
        by_type=dict(types.most_common()),
        by_tenant=by_tenant,
        handlers=tuple(
            HandlerCalls(name, number, round(each.calls, 2), name in calls, each.is_at_least)
            for name, number in pairs.most_common()
            for each in (calls.get(name, _ASSUMED),)
        ),
        without_handler=without_handler,
        api_calls=sum(each.api_calls for each in by_tenant),
        duration_s=round(max(rate_s, budget_s), 1),
        bound_by="budget" if budget_s > rate_s else "room" if rate > MOST_A_SECOND else "rate",
        day_share=day_share,
        over_day_share=tuple(each for each in by_tenant if each.api_calls > day_share),
        gaps=tuple(gaps),
    )


def _by_tenant(
    counts: Mapping[Kind, int], registry: Registry, calls: Mapping[str, Measured], allowed: Allowance
) -> tuple[TenantPlan, ...]:
    deliveries: Counter[tuple[str, str]] = Counter()
    made: Counter[tuple[str, str]] = Counter()
    for kind, number in counts.items():
        tenant = (kind.app, kind.tenant)
        deliveries[tenant] += number
        for name in _handlers(kind, registry):
            # In thousandths: a counter counts whole things.
            made[tenant] += round(1000 * number * kind.elements * calls.get(name, _ASSUMED).calls)
    plans = []
    for tenant, number in deliveries.most_common():
        api_calls = math.ceil(made[tenant] / 1000)
        plans.append(TenantPlan(*tenant, number, api_calls, round(allowed.takes_s(api_calls, "replay"), 1)))
    return tuple(plans)


def _handlers(kind: Kind, registry: Registry) -> list[str]:
    names = [each.name for each in registry.for_type(kind.type)]
    return [name for name in names if not kind.handlers or name in kind.handlers]
