"""Parked pairs: who waits behind whom, and whose time has come. Written by the ledger, read here."""

import asyncio
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from levelgate.highlevel.client import ApiCall
from processors.filters import ALL_PAIRS, PairFilter
from processors.pairs import Failure, History, Line, Pair, Record
from processors.sql import Pool, fetch, queries
from schemas.envelope import from_headers

_SQL = queries(__file__)

_QUERY_TIMEOUT_S = 30.0

REDRIVEN = "redriven"
"""The reason of a pair that was dead, until its first run from there has ended."""


class DuePair(msgspec.Struct, frozen=True):
    """A parked pair whose time has come, with the delivery it belongs to."""

    pair: Pair
    record: Record
    history: History
    is_redriven: bool = False
    """Whether it was dead and is not in its line yet: it joins when its turn comes."""


class Lines:
    """The lines of parked pairs, by partition number: an event whose line is not empty parks behind it. In memory."""

    def __init__(self) -> None:
        self._of: dict[int, Counter[Line]] = {}

    def load(self, number: int, lines: Counter[Line]) -> None:
        """Set what waits on `number`, as read after claiming it."""
        self._of[number] = lines

    def drop(self, number: int) -> None:
        """Forget `number`."""
        self._of.pop(number, None)

    def is_waiting(self, number: int, line: Line) -> bool:
        """Whether a pair of `line` is parked."""
        counts = self._of.get(number)
        return counts is not None and counts[line] > 0

    def join(self, number: int, line: Line) -> None:
        """Count one more pair that parks in `line`."""
        if number in self._of:
            self._of[number][line] += 1

    def leave(self, number: int, line: Line) -> None:
        """Count one pair of `line` less."""
        counts = self._of.get(number)
        if counts is None:
            return
        counts[line] -= 1
        if counts[line] <= 0:
            del counts[line]


class Parking:
    """The parked pairs of one worker's partition numbers."""

    def __init__(self, pool: Pool, *, group: str) -> None:
        self._pool = pool
        self._group = group

    async def lines(self, number: int) -> Counter[Line]:
        """Read who waits on a partition number."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.lines(self._pool, group_id=self._group, partition=number))
        return Counter(
            {Line(r["app"], r["tenant"], r["topic"], r["entity"], r["handler"], r["run"]): r["pairs"] for r in rows}
        )

    async def due(self, numbers: Collection[int], *, now: datetime, most: int) -> list[DuePair]:
        """Return at most `most` pairs whose time has come, oldest first."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(
                _SQL.take_due(self._pool, group_id=self._group, partitions=list(numbers), now=now, most=most)
            )
        return [_due(row) for row in rows]

    async def next_due(self, numbers: Collection[int]) -> datetime | None:
        """Return when the next pair's time comes, None where none waits for a time."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            at: datetime | None = await _SQL.next_due(self._pool, group_id=self._group, partitions=list(numbers))
        return at

    async def counts(self, numbers: Collection[int]) -> dict[str, int]:
        """Return how many pairs are parked on some partition numbers, by reason."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.count_parked_of(self._pool, group_id=self._group, partitions=list(numbers)))
        return {row["reason"]: row["pairs"] for row in rows}


async def list_parked(pool: Pool, chosen: PairFilter = ALL_PAIRS, *, most: int = 100) -> list[dict[str, Any]]:
    """Return parked pairs for a listing, the ones due first at the top; times are aware datetimes."""
    rows = await fetch(_SQL.list_parked(pool, most=most, **chosen.parameters()))
    return [dict(row) | {"errors": msgspec.json.decode(row["errors"])} for row in rows]


async def count_parked(pool: Pool) -> dict[str, int]:
    """Return how many pairs are parked in all, by reason."""
    return {row["reason"]: row["pairs"] for row in await fetch(_SQL.count_parked(pool))}


def _due(row: Any) -> DuePair:  # noqa: ANN401 -- a row of take_due
    headers = msgspec.msgpack.decode(row["headers"], type=list[tuple[str, bytes]])
    record = Record(from_headers(headers), row["topic"], row["partition"], row["record_offset"], headers, row["body"])
    pair = Pair(row["app"], row["tenant"], row["delivery"], row["run"], row["handler"], row["element"])
    history = History(
        row["attempts"],
        msgspec.json.decode(row["errors"], type=tuple[Failure, ...]),
        msgspec.json.decode(row["calls"], type=tuple[ApiCall, ...]),
    )
    return DuePair(pair, record, history, row["reason"] == REDRIVEN)
