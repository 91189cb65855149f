"""The ledger: which pairs are recorded, and the batched, fenced writing of what became of them.

One transaction a flush: it first holds the owned partition numbers (see `Ownership.hold`), then writes
done, parked and dead pairs and the delivery index for those alone. What belongs to a number that is
another's by now is dropped, and its waiters are told so. Nothing here decides; nothing here knows Kafka.

A flush happens once. Where the answer to its COMMIT was lost, Postgres is asked what became of the transaction, before
anything is written again: a second one would take the first one's rows for somebody else's.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from levelgate.postgres import POSTGRES_AWAY
from processors import ledger_rows
from processors.ledger_rows import BacklogEntry, Entry, IndexEntry, PairEntry, ReleaseEntry
from processors.ownership import Ownership
from processors.pairs import Dead, Done, Pair, Parked, Record
from processors.recent_pairs import RecentPairs
from processors.sql import Connection, Pool, fetch, queries
from schemas.errors import LevelgateError
from schemas.ids import AppName, TenantId
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics

log = get_logger(__name__)

_SQL = queries(__file__)

_RETRY_S = 0.5
_QUERY_TIMEOUT_S = 30.0

Key = tuple[str, str, str, str]
"""A delivery in a run: app, tenant, delivery, run."""

Beside = Callable[[Connection, Collection[tuple[AppName, TenantId]]], Awaitable[Callable[[], None]]]
"""What else is written in a flush's transaction, for the tenants that it holds; the result is called when it is in."""


class _Stored(NamedTuple):
    """What a flush wrote: the epochs under which partition numbers were ours, and which of the backlog was new."""

    held: dict[int, int]
    new: set[Pair]


class _Unheard(NamedTuple):
    """A transaction whose COMMIT was sent, and what it wrote if it is in."""

    transaction: str
    stored: _Stored


class RowRefused(LevelgateError):
    """Postgres does not take a row, however often it is asked: nothing of its partition can be finished any more."""


_REFUSED = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.IntegrityConstraintViolationError)
"""What Postgres, or asyncpg before it, says of a row; everything else is the connection's or the server's trouble."""


class Ledger:
    """Look-ups and writes of one worker, each gathered into batches; `run` is its task."""

    def __init__(self, pool: Pool, ownership: Ownership, *, group: str, metrics: WorkerMetrics, beside: Beside) -> None:
        self._pool = pool
        self._ownership = ownership
        self._group = group
        self._metrics = metrics
        self._beside = beside
        self._buffer: deque[Entry] = deque()
        self._ended = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._healthy = asyncio.Event()
        self._healthy.set()
        self._asked: dict[Key, asyncio.Future[frozenset[tuple[str, int]]]] = {}
        self._ask = asyncio.Event()
        self._recent = RecentPairs()
        self._is_looking = False
        self._flushing = 0
        self._unheard: _Unheard | None = None
        self.after_flush: Callable[[], None] = _nothing
        """Called after each flush, when what it wrote is no longer unrecorded."""

    @property
    def unrecorded(self) -> int:
        """How many pairs have ended and are neither written nor dropped yet."""
        return self._ended + self._flushing

    @property
    def unwritten(self) -> int:
        """How many entries of any kind wait to be written."""
        return len(self._buffer)

    @property
    def is_healthy(self) -> bool:
        """Whether the last write or look-up worked: consumption pauses while it did not."""
        return self._healthy.is_set()

    def put(self, entry: Entry) -> None:
        """Take an entry for the next flush; its `recorded` is called once, from the loop."""
        if isinstance(entry, PairEntry | BacklogEntry):
            self._recent.add(entry.pair)
        self._ended += isinstance(entry, PairEntry)
        self._buffer.append(entry)
        self._idle.clear()
        self._wake.set()

    def is_recent(self, pair: Pair) -> bool:
        """Whether this worker recorded the pair so lately that a look-up may not have seen it."""
        return pair in self._recent

    async def recorded(self, record: Record) -> frozenset[tuple[str, int]]:
        """Return (handler, element) of the delivery's pairs that are done, parked or dead already.

        Look-ups of one loop turn, and those that come while one is under way, share one query.
        Waits for Postgres as long as it is away.
        """
        env = record.envelope
        key = (env.app, env.tenant, env.id, record.run)
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            self._ask.set()
        return await asyncio.shield(future)

    async def flushed(self) -> None:
        """Wait until everything put so far is written or dropped."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write and look up until cancelled. Raises RowRefused."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._look_up())

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._buffer:
                batch = ledger_rows.take_batch(self._buffer)
                self._flushing = sum(isinstance(entry, PairEntry) for entry in batch)
                self._ended -= self._flushing
                await self._flush(batch)
                self._flushing = 0
                self.after_flush()
            self._idle.set()

    async def _flush(self, batch: Sequence[Entry]) -> None:
        """Write a batch; where Postgres refuses a row of it, in halves, so that the others are written."""
        started = time.monotonic()
        try:
            stored = await self._store_once(batch)
        except _REFUSED as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._flush(batch[:middle])
                await self._flush(batch[middle:])
            else:
                await self._flush([_without_texts(batch[0], error)])
            return
        self._healthy.set()
        self._metrics.ledger_flush_duration.observe(time.monotonic() - started)
        for entry in batch:
            ours = stored.held.get(entry.record.partition) == entry.epoch
            if isinstance(entry, BacklogEntry) and ours:
                # Of two copies in one batch the first was new.
                if entry.pair in stored.new:
                    stored.new.remove(entry.pair)
                else:
                    entry.known()
            if isinstance(entry, PairEntry | BacklogEntry):
                if ours:
                    self._recent.written(entry.pair)
                else:
                    self._recent.drop(entry.pair)
            entry.recorded(ours)
        if stored.held and not self._is_looking and not self._asked:
            # Parked pairs make no look-ups: a backlog that drains alone would be remembered whole.
            self._recent.pass_over()

    async def _store_once(self, batch: Sequence[Entry]) -> _Stored:
        """Write what is still ours, as soon as Postgres is there. Raises what Postgres says of a row."""
        self._unheard = None
        while True:
            try:
                async with asyncio.timeout(_QUERY_TIMEOUT_S):
                    if self._unheard is not None and await self._is_committed(self._unheard.transaction):
                        return self._unheard.stored
                    return await self._store(batch)
            except _REFUSED:
                raise
            except POSTGRES_AWAY as error:
                self._ail(error)
                await asyncio.sleep(_RETRY_S)

    async def _is_committed(self, transaction: str) -> bool:
        """Whether a transaction is in; waits while that is open."""
        while True:
            try:
                status = await _SQL.status(self._pool, transaction=transaction)
            except asyncpg.InvalidParameterValueError:
                return False  # Postgres has not come so far yet: another server took over, which never saw it
            if status != "in progress":
                return bool(status == "committed")
            await asyncio.sleep(_RETRY_S)

    async def _store(self, batch: Sequence[Entry]) -> _Stored:
        current = self._ownership.epochs
        wanted = {e.record.partition: e.epoch for e in batch if current.get(e.record.partition) == e.epoch}
        if not wanted:
            return _Stored({}, set())
        async with self._pool.acquire() as connection, connection.transaction():
            owned = await self._ownership.hold(connection, wanted)
            held = {number: epoch for number, epoch in wanted.items() if number in owned}
            ours = [e for e in batch if held.get(e.record.partition) == e.epoch]
            stored = _Stored(held, await self._store_held(connection, ours))
            transaction = await _SQL.transaction(connection)
            written = await self._beside(connection, {(e.record.envelope.app, e.record.envelope.tenant) for e in ours})
            self._unheard = _Unheard(transaction, stored)
        written()
        return stored

    async def _store_held(self, connection: Connection, entries: Sequence[Entry]) -> set[Pair]:
        """Write entries; return the pairs of the backlog that were not recorded before."""
        index = [e for e in entries if isinstance(e, IndexEntry)]
        backlog = [e for e in entries if isinstance(e, BacklogEntry)]
        released = [e for e in entries if isinstance(e, ReleaseEntry)]
        pairs = [e for e in entries if isinstance(e, PairEntry)]
        # A pair has one row: of two outcomes in one batch the later one stands.
        pairs = list({e.pair: e for e in pairs}.values())
        done = [e for e in pairs if isinstance(e.outcome, Done)]
        parked = [e for e in pairs if isinstance(e.outcome, Parked)]
        dead = [e for e in pairs if isinstance(e.outcome, Dead)]
        ended = [e for e in pairs if e.was_parked and not isinstance(e.outcome, Parked)]
        behind = [e for e in parked if isinstance(e.outcome, Parked) and e.outcome.due_at is None]
        if index:
            await _SQL.add_deliveries(connection, **ledger_rows.of_deliveries(index))
        if parked or dead:
            await _SQL.add_held(connection, **ledger_rows.of_held([*parked, *dead]))
        if done:
            await _SQL.add_done(connection, **ledger_rows.of_done(done))
        if parked:
            await _SQL.add_parked(connection, group_id=self._group, **ledger_rows.of_parked(parked))
        if dead:
            await _SQL.add_dead(connection, group_id=self._group, **ledger_rows.of_dead(dead))
        if ended:
            await _SQL.remove_parked(connection, **ledger_rows.of_pairs(ended))
        # After the done and dead ones of this batch, which may be the same pairs.
        new = await self._store_backlog(connection, backlog) if backlog else set()
        if ended or behind or released:
            # A pair parked behind one that ended meanwhile would wait for ever: so lines of both are looked at.
            lines = ledger_rows.of_lines([*ended, *behind, *released])
            await _SQL.release_lines(connection, group_id=self._group, now=datetime.now(UTC), **lines)
        if ended:
            await _SQL.remove_held(connection, **ledger_rows.of_keys(ended))
        return new

    async def _store_backlog(self, connection: Connection, backlog: Sequence[BacklogEntry]) -> set[Pair]:
        await _SQL.add_held(connection, **ledger_rows.of_held(backlog))
        rows = await fetch(_SQL.add_backlog(connection, group_id=self._group, **ledger_rows.of_parked(backlog)))
        new = {Pair(*row) for row in rows}
        known = [e for e in backlog if e.pair not in new]
        if known:
            await _SQL.remove_held(connection, **ledger_rows.of_keys(known))
        return new

    async def _look_up(self) -> None:
        while True:
            await self._ask.wait()
            self._ask.clear()
            asked, self._asked = self._asked, {}
            self._is_looking = True
            number = self._recent.begin()
            rows = await self._query(list(asked))
            self._is_looking = False
            found: dict[Key, set[tuple[str, int]]] = {}
            for row in rows:
                key = (row["app"], row["tenant"], row["delivery"], row["run"])
                found.setdefault(key, set()).add((row["handler"], row["element"]))
            for key, future in asked.items():
                if not future.done():
                    future.set_result(frozenset(found.get(key, ())))
            self._recent.end(number)

    async def _query(self, keys: Sequence[Key]) -> list[asyncpg.Record]:
        apps, tenants, deliveries, runs = (list(column) for column in zip(*keys, strict=True))
        while True:
            try:
                async with asyncio.timeout(_QUERY_TIMEOUT_S):
                    rows = await fetch(
                        _SQL.recorded(self._pool, apps=apps, tenants=tenants, deliveries=deliveries, runs=runs)
                    )
            except POSTGRES_AWAY as error:
                self._ail(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._healthy.set()
                return rows

    def _ail(self, error: BaseException) -> None:
        if self._healthy.is_set():
            log.error("postgres_unavailable", error=type(error).__name__)
        self._healthy.clear()


def _without_texts(entry: Entry, error: Exception) -> Entry:
    """Return an entry that was refused with less in it. Raises RowRefused where there is nothing to leave out."""
    record = entry.record
    where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    less = ledger_rows.without_texts(entry)
    log.error("row_refused", error=type(error).__name__, app=record.envelope.app, delivery=record.envelope.id, **where)
    if less is None:
        raise RowRefused(
            f"Postgres refuses a row ({type(error).__name__}) of delivery {record.envelope.id}, "
            f"{record.topic} {record.partition} at {record.offset}: who wrote that record?"
        )
    return less


def _nothing() -> None:
    """Do nothing: nobody waits for flushes."""
