"""Dead letters: pairs that were given up, kept with their whole history. Written by the ledger, read here."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from processors.filters import ALL_PAIRS, PairFilter
from processors.pairs import Pair, pair_columns, pair_of
from processors.redrive import DeadPair, can_run
from processors.sql import Pool, fetch, queries
from schemas.envelope import Headers

_SQL = queries(__file__)

_QUERY_TIMEOUT_S = 30.0
_WINDOW = 5000
_TICK = timedelta(microseconds=1)
"""The least difference of two times in Postgres."""


class Unpublished(msgspec.Struct, frozen=True):
    """A dead pair that the dead letter topic has not seen."""

    pair: Pair
    attempts: int
    errors: str
    died_at: datetime
    headers: Headers
    body: bytes


class DeadCount(msgspec.Struct, frozen=True):
    """How many dead pairs there are of one run, handler, type and last error."""

    run: str
    handler: str
    type: str
    error: str
    pairs: int


class Counted(msgspec.Struct, frozen=True):
    """The dead pairs that fit a filter, as they were when they were counted; what dies later is not among them."""

    counts: tuple[DeadCount, ...]
    """The most first."""
    chosen: PairFilter
    """The filter, its times those between which the pairs died."""
    deliveries: frozenset[str] = frozenset()
    """Of the filter's ids, if it has any, those that have such a pair."""

    @property
    def pairs(self) -> int:
        """How many there are."""
        return sum(each.pairs for each in self.counts)

    @property
    def able(self) -> int:
        """How many of them can run."""
        return sum(each.pairs for each in self.counts if can_run(each.handler))


class DeadLetters:
    """The dead pairs of one worker's partition numbers."""

    def __init__(self, pool: Pool, *, group: str) -> None:
        self._pool = pool
        self._group = group

    async def unpublished(
        self, numbers: Collection[int], *, most: int, without: Collection[tuple[Pair, datetime]] = ()
    ) -> list[Unpublished]:
        """Return dead pairs that outside consumers have not been told of, the oldest first.

        Leaves out the deaths `without`: pairs, and when they died.
        """
        pairs = [pair for pair, _ in without]
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(
                _SQL.unpublished(
                    self._pool,
                    group_id=self._group,
                    partitions=list(numbers),
                    most=most,
                    **pair_columns(pairs),
                    died_ats=[died_at for _, died_at in without],
                )
            )
        return [
            Unpublished(
                pair_of(r),
                r["attempts"],
                r["errors"],
                r["died_at"],
                msgspec.msgpack.decode(r["headers"], type=list[tuple[str, bytes]]),
                r["body"],
            )
            for r in rows
        ]

    async def mark_published(self, letters: Sequence[Unpublished]) -> None:
        """Note that the topic has these; one that died anew meanwhile is published again."""
        pairs = [letter.pair for letter in letters]
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            await _SQL.mark_published(
                self._pool, **pair_columns(pairs), died_ats=[letter.died_at for letter in letters]
            )


async def list_dead(pool: Pool, chosen: PairFilter = ALL_PAIRS, *, most: int = 100) -> list[dict[str, Any]]:
    """Return dead pairs for a listing, the newest first; times are aware datetimes."""
    rows = await fetch(_SQL.list_dead(pool, most=most, **chosen.parameters()))
    return [dict(row) | {"errors": msgspec.json.decode(row["errors"])} for row in rows]


async def count_dead(pool: Pool, chosen: PairFilter = ALL_PAIRS) -> Counted:
    """Return how many dead pairs fit a filter."""
    rows = await fetch(_SQL.count_dead(pool, **chosen.parameters()))
    counts = tuple(DeadCount(r["run"], r["handler"], r["type"], r["error"], r["pairs"]) for r in rows)
    if not rows:
        return Counted(counts, chosen)
    since = min(row["first_died_at"] for row in rows)
    until = max(row["last_died_at"] for row in rows) + _TICK
    found = frozenset(delivery for row in rows for delivery in row["deliveries"] or ())
    return Counted(counts, msgspec.structs.replace(chosen, since=since, until=until), found)


async def choose_dead(pool: Pool, counted: Counted, *, window: int = _WINDOW) -> AsyncIterator[list[DeadPair]]:
    """Yield the pairs that were counted and are dead still, the oldest first: what `redrive` and `discard` take.

    The table is gone through in windows of so many pairs, fitting or not, along their time of death (decision 28).
    """
    since, end = counted.chosen.since, counted.chosen.until
    if not counted.counts or since is None or end is None:
        return
    while since < end:
        next_at = await _SQL.window_end(pool, since=since, size=window)
        # Pairs of one instant are never parted.
        until = end if next_at is None else min(max(next_at, since + _TICK), end)
        of_window = msgspec.structs.replace(counted.chosen, since=since, until=until)
        rows = await fetch(_SQL.choose_dead(pool, **of_window.parameters()))
        yield [
            DeadPair(
                pair_of(r),
                group=r["group_id"],
                partition=r["partition"],
                died_at=r["died_at"],
            )
            for r in rows
        ]
        since = until


async def show_dead(
    pool: Pool, delivery: str, *, app: str | None = None, handler: str | None = None
) -> list[dict[str, Any]]:
    """Return all that is kept of a delivery's dead pairs, discarded ones too; `body` is None where it is gone."""
    return [
        dict(row)
        | {
            "errors": msgspec.json.decode(row["errors"]),
            "calls": msgspec.json.decode(row["calls"]),
            "headers": _texts(row["headers"]) if row["headers"] is not None else None,
        }
        for row in await fetch(_SQL.show_dead(pool, delivery=delivery, app=app, handler=handler))
    ]


def _texts(headers: bytes) -> list[tuple[str, str]]:
    return [
        (name, value.decode(errors="replace"))
        for name, value in msgspec.msgpack.decode(headers, type=list[tuple[str, bytes]])
    ]
