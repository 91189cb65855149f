"""The delivery index, as `levelgate trace` and listings read it: one delivery's way, from Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from levelgate.highlevel.client import ApiCall
from processors.pairs import LIVE, Failure
from processors.sql import Pool, fetch, queries

_SQL = queries(__file__)

State = Literal["accepted", "handled", "parked", "dead", "quarantined"]


class HandlerTrace(msgspec.Struct, frozen=True):
    """One pair of a delivery; of a list body, `element` says which one's."""

    name: str
    element: int
    state: str
    """done, parked, dead, or discarded: dead, and given up for good by an operator."""
    attempts: int
    last_error: str | None
    run: str = LIVE
    """`live`, or the id of the replay in which it became of the pair."""


class Trace(msgspec.Struct, frozen=True):
    """A delivery's way; the fields are the contract of `levelgate trace --json` (design §5)."""

    id: str
    app: str
    type: str
    tenant: str
    topic: str
    partition: int
    offset: int
    received_at: datetime
    state: State
    reason: str | None = None
    handlers: tuple[HandlerTrace, ...] = ()
    api_calls: tuple[ApiCall, ...] = ()
    replays: tuple[HandlerTrace, ...] = ()
    """What became of its pairs in replays; state, handlers and calls are the live run's alone."""


async def trace(pool: Pool, delivery: str, *, app: str | None = None) -> list[Trace]:
    """Return the traces of the delivery in each app that has one of this id; none where there is no row yet.

    Of a delivery that came more than once, the first record stands for all: the later ones ran nothing.
    """
    rows = await fetch(_SQL.find(pool, id=delivery, app=app))
    first: dict[str, Any] = {}
    for row in rows:
        if row["run"] == LIVE:
            first.setdefault(row["app"], row)
    return [await _trace(pool, row) for row in first.values()]


async def _trace(pool: Pool, row: Any) -> Trace:  # noqa: ANN401 -- a row of find
    pairs = await fetch(_SQL.pairs(pool, app=row["app"], tenant=row["tenant"], id=row["id"]))
    ended = sorted((_handler(pair) for pair in pairs), key=lambda h: (h.run, h.element, h.name))
    handlers = [each for each in ended if each.run == LIVE]
    live = [pair["calls"] for pair in pairs if pair["run"] == LIVE]
    calls = [call for each in live for call in msgspec.json.decode(each, type=list[ApiCall])]
    return Trace(
        id=row["id"],
        app=row["app"],
        type=row["type"],
        tenant=row["tenant"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["record_offset"],
        received_at=row["received_at"],
        state=_state(row, handlers),
        reason=row["quarantine_reason"],
        handlers=tuple(handlers),
        api_calls=tuple(calls),
        replays=tuple(each for each in ended if each.run != LIVE),
    )


def _handler(pair: Any) -> HandlerTrace:  # noqa: ANN401 -- a row of pairs
    failures = msgspec.json.decode(pair["errors"], type=list[Failure]) if pair["errors"] else []
    last = f"{failures[-1].error}: {failures[-1].message}" if failures else None
    return HandlerTrace(pair["handler"], pair["element"], pair["state"], pair["attempts"], last, pair["run"])


def _state(row: Any, handlers: Sequence[HandlerTrace]) -> State:  # noqa: ANN401 -- a row of find
    states = {handler.state for handler in handlers}
    # What was discarded did not get done: the delivery goes on counting as dead.
    if states & {"dead", "discarded"}:
        return "dead"
    if row["quarantine_reason"] is not None:
        return "quarantined"
    if "parked" in states:
        return "parked"
    return "handled" if len(handlers) >= len(row["handlers"]) * row["elements"] else "accepted"


async def states(pool: Pool, deliveries: Sequence[str]) -> dict[str, State]:
    """Return the state of each of these deliveries that has a row."""
    return {row["id"]: row["state"] for row in await fetch(_SQL.states(pool, ids=list(deliveries)))}
