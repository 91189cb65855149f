"""Parked pairs: who waits behind whom, and whose time has come. Written by the ledger, read here."""

import asyncio
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from levelgate.highlevel.client import ApiCall
from processors.filters import ALL_PAIRS, PairFilter
from processors.pairs import Failure, History, Line, Pair, Record, pair_of
from processors.sql import Pool, fetch, queries
from schemas.envelope import from_headers

_SQL = queries(__file__)

_QUERY_TIMEOUT_S = 30.0

REDRIVEN = "redriven"
"""The reason of a pair that was dead, until its first run from there has ended."""

BACKLOG = "backlog"
"""The reason of a pair that was parked unrun, because its tenant has too much in memory already."""

OF_A_TENANT = 50
"""How many due pairs of one tenant are taken at a time, so that a backlog does not stand before others' retries."""


TenantKey = tuple[str, str]
"""App and tenant."""


class DuePair(msgspec.Struct, frozen=True):
    """A parked pair whose time has come, with the delivery it belongs to."""

    pair: Pair
    record: Record
    history: History
    is_redriven: bool = False
    """Whether it was dead and is not in its line yet: it joins when its turn comes."""


class Lines:
    """The lines of parked pairs, by partition number, in memory.

    An event whose line is not empty parks behind it. A line is open while a first run of its handler is under way or
    about to be: what is parked unrun meanwhile must wait for that, and is let go when it has ended.
    """

    def __init__(self) -> None:
        self._of: dict[int, Counter[Line]] = {}
        self._open: dict[int, Counter[tuple[int, Line]]] = {}

    def load(self, number: int, lines: Counter[Line]) -> None:
        """Set what waits on `number`, as read after claiming it."""
        self._of[number] = lines
        self._open[number] = Counter()

    def drop(self, number: int) -> None:
        """Forget `number`."""
        self._of.pop(number, None)
        self._open.pop(number, None)

    def is_waiting(self, number: int, line: Line) -> bool:
        """Whether a pair of `line` is parked."""
        counts = self._of.get(number)
        return counts is not None and counts[line] > 0

    def length(self, number: int, line: Line) -> int:
        """Return how many pairs of `line` are parked."""
        counts = self._of.get(number)
        return counts[line] if counts is not None else 0

    def join(self, number: int, line: Line) -> None:
        """Count one more pair that parks in `line`."""
        if number in self._of:
            self._of[number][line] += 1

    def leave(self, number: int, line: Line) -> None:
        """Count one pair of `line` less."""
        _subtract(self._of.get(number), line)

    def is_open(self, number: int, epoch: int, line: Line) -> bool:
        """Whether a first run in `line` has not ended."""
        counts = self._open.get(number)
        return counts is not None and counts[epoch, line] > 0

    def open(self, number: int, epoch: int, line: Line) -> None:
        """Count one more first run in `line`, before anything of it is awaited."""
        if number in self._open:
            self._open[number][epoch, line] += 1

    def close(self, number: int, epoch: int, line: Line) -> bool:
        """Count one first run less, of which the ledger has been told; return whether somebody waits behind it."""
        _subtract(self._open.get(number), (epoch, line))
        return not self.is_open(number, epoch, line) and self.is_waiting(number, line)


def _subtract(counts: Counter[Any] | None, key: object) -> None:
    if counts is None:
        return
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


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

    async def due(
        self,
        numbers: Collection[int],
        *,
        now: datetime,
        most: int,
        held: Collection[TenantKey] = (),
        held_replays: Collection[TenantKey] = (),
    ) -> list[DuePair]:
        """Return at most `most` pairs whose time has come: in turns between tenants, of each the oldest first.

        Tenants that are `held` are passed over, and so are the replays of those in `held_replays`.
        """
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(
                _SQL.take_due(
                    self._pool,
                    group_id=self._group,
                    partitions=list(numbers),
                    now=now,
                    most=most,
                    of_a_tenant=OF_A_TENANT,
                    held_apps=[app for app, _ in held],
                    held_tenants=[tenant for _, tenant in held],
                    replay_apps=[app for app, _ in held_replays],
                    replay_tenants=[tenant for _, tenant in held_replays],
                )
            )
        return [_due(row) for row in rows]

    async def followers(self, head: DuePair, *, most: int) -> dict[Pair, Record]:
        """Return at most `most` pairs that wait behind a line's head and have never run, in order.

        The last one's record is its own; for the others the head's stands, which lies in the same line.
        """
        line, record = head.record.line(head.pair.handler), head.record
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(
                _SQL.followers(
                    self._pool,
                    group_id=self._group,
                    partition=record.partition,
                    record_offset=record.offset,
                    most=most,
                    **msgspec.structs.asdict(line),
                )
            )
        pairs = [Pair(line.app, line.tenant, r["delivery"], line.run, line.handler, r["element"]) for r in rows]
        return dict.fromkeys(pairs, record) | ({pairs[-1]: _record(rows[-1])} if rows else {})

    async def counts(self, numbers: Collection[int]) -> dict[str, int]:
        """Return how many pairs are parked on some partition numbers, by reason."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.count_parked(self._pool, group_id=self._group, partitions=list(numbers)))
        return {row["reason"]: row["pairs"] for row in rows}


async def list_parked(pool: Pool, chosen: PairFilter = ALL_PAIRS, *, most: int = 100) -> list[dict[str, Any]]:
    """Return parked pairs for a listing, the ones due first at the top; times are aware datetimes."""
    rows = await fetch(_SQL.list_parked(pool, most=most, **chosen.parameters()))
    return [dict(row) | {"errors": msgspec.json.decode(row["errors"])} for row in rows]


def _due(row: Any) -> DuePair:  # noqa: ANN401 -- a row of take_due
    record = _record(row)
    pair = pair_of(row)
    history = History(
        row["attempts"],
        msgspec.json.decode(row["errors"], type=tuple[Failure, ...]),
        msgspec.json.decode(row["calls"], type=tuple[ApiCall, ...]),
    )
    return DuePair(pair, record, history, row["reason"] == REDRIVEN)


def _record(row: Any) -> Record:  # noqa: ANN401 -- a row of take_due, or the last one of followers
    headers = msgspec.msgpack.decode(row["headers"], type=list[tuple[str, bytes]])
    return Record(from_headers(headers), row["topic"], row["partition"], row["record_offset"], headers, row["body"])
