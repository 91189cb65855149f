"""Moves dead pairs: back to parked, to run again, or out of sight for good. Called by an operator, never by a worker.

The partition's owner takes redriven pairs up by its due poll; nothing here runs a handler or knows Kafka.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import Any

import asyncpg
import msgspec

from processors.pairs import Pair, pair_columns
from processors.records import ENVELOPE_HANDLER
from processors.sql import Pool, fetch, queries
from schemas.errors import LevelgateError

_SQL = queries(__file__)

_BATCH = 200
_MOST_UNTAKEN = 1000
"""Redriven pairs are due before what fails now: no more than so many are put in front of it at a time."""
_POLL_S = 0.5
_QUERY_TIMEOUT_S = 30.0
_IDLE_TIMEOUT = "5s"
_TRIES = 3


class NotTaken(LevelgateError):
    """No worker runs what was redriven."""


class DeadPair(msgspec.Struct, frozen=True):
    """A dead pair as it was when it was chosen; one that died anew since is another."""

    pair: Pair
    group: str
    partition: int
    died_at: datetime


class Outcomes(msgspec.Struct, frozen=True):
    """What became of redriven pairs."""

    done: int = 0
    dead: int = 0
    """Died again."""
    waiting: int = 0
    """Not ended yet: parked, for their first run or the next."""
    cancelled: int = 0
    """Dropped: their replay is cancelled, and the one run that a redrive gives them had to wait."""

    @property
    def is_good(self) -> bool:
        """Whether each of them is done."""
        return not self.dead and not self.waiting and not self.cancelled


class Discarded(msgspec.Struct, frozen=True):
    """What a discard did."""

    pairs: int
    bodies: int
    """How many deliveries' headers and bodies were deleted with them."""


def can_run(handler: str) -> bool:
    """Whether a handler's dead pairs can be redriven: there is nothing to run of a record that no receiver wrote."""
    return handler != ENVELOPE_HANDLER


async def redrive(
    pool: Pool, chosen: AsyncIterable[Sequence[DeadPair]], *, most: int | None = None, standstill_s: float = 60.0
) -> AsyncIterator[list[Pair]]:
    """Move pairs that can run back to parked, due now, batch by batch; yield those that each batch really moved.

    No more than the first `most` of them. Each batch is one statement. At most so many wait for their first run at a
    time; raises NotTaken when no worker takes any of them for so long: what was not moved by then is still dead.
    """
    left = most
    async for pairs in chosen:
        for batch in _batches([each for each in pairs if can_run(each.pair.handler)][:left]):
            await _room(pool, standstill_s)
            yield await _redrive(pool, batch)
            if left is not None:
                left -= len(batch)
        if left == 0:
            return


async def _redrive(pool: Pool, batch: Sequence[DeadPair]) -> list[Pair]:
    tries = _TRIES
    while True:
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT_S):
                rows = await fetch(_SQL.redrive(pool, **_keys(batch)))
        except asyncpg.DeadlockDetectedError:
            # The worker notes in its own order which letters are published; nothing was moved.
            tries -= 1
            if not tries:
                raise
        else:
            return [Pair(*row) for row in rows]


async def _room(pool: Pool, standstill_s: float) -> None:
    """Wait until the workers have run most of what was redriven before."""
    least, moved_at = None, time.monotonic()
    while True:
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            untaken = int(await _SQL.count_untaken(pool))
        if untaken <= _MOST_UNTAKEN - _BATCH:
            return
        if least is None or untaken < least:
            least, moved_at = untaken, time.monotonic()
        if time.monotonic() - moved_at > standstill_s:
            raise NotTaken(
                f"{untaken} redriven pairs wait and no worker takes them: check that workers run; the rest stay dead"
            )
        await asyncio.sleep(_POLL_S)


async def ended(
    pool: Pool, pairs: Sequence[Pair], *, within_s: float, advance: Callable[[int], None] | None = None
) -> Outcomes:
    """Wait until none of some redriven pairs is parked any more, or the time is up; return what became of them."""
    deadline = time.monotonic() + within_s
    while True:
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.outcomes(pool, **pair_columns(pairs)))
        outcomes = Outcomes(**{row["state"]: row["pairs"] for row in rows})
        if advance is not None:
            advance(len(pairs) - outcomes.waiting)
        if not outcomes.waiting or time.monotonic() > deadline:
            return outcomes
        await asyncio.sleep(_POLL_S)


async def discard(pool: Pool, chosen: AsyncIterable[Sequence[DeadPair]]) -> AsyncIterator[Discarded]:
    """Give dead pairs up for good, batch by batch, with the bodies that nothing needs any more; yield each's counts.

    The pairs' rows stay, with their history. The partition's owner waits while a batch is written.
    """

    def place(each: DeadPair) -> tuple[str, int]:
        return each.group, each.partition

    async for pairs in chosen:
        for (group, partition), of_place in groupby(sorted(pairs, key=place), key=place):
            for batch in _batches(list(of_place)):
                yield await _discard(pool, batch, group=group, partition=partition)


async def _discard(pool: Pool, batch: Sequence[DeadPair], *, group: str, partition: int) -> Discarded:
    async with asyncio.timeout(_QUERY_TIMEOUT_S), pool.acquire() as connection, connection.transaction():
        # A command that is stopped in here must not hold the partition's owner up for long.
        await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT}'")
        await fetch(_SQL.lock_partition(connection, group_id=group, partition=partition))
        rows = await fetch(_SQL.discard(connection, **_keys(batch)))
        apps, tenants, deliveries, runs = ([row[n] for row in rows] for n in range(4))
        bodies = await fetch(
            _SQL.remove_bodies(connection, apps=apps, tenants=tenants, deliveries=deliveries, runs=runs)
        )
    return Discarded(len(rows), len(bodies))


def _batches(chosen: Sequence[DeadPair]) -> Iterator[list[DeadPair]]:
    rest = iter(chosen)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _keys(chosen: Sequence[DeadPair]) -> dict[str, list[Any]]:
    return pair_columns([each.pair for each in chosen]) | {"died_ats": [each.died_at for each in chosen]}
