"""What is kept for days: the day partitions of the ledger and of the delivery index, made ahead and dropped by age.

Rows that fit no day (an old `received_at` in a replay, a worker that was away for days) lie in the
default partition and are deleted by age, and so are replays and budgets that nobody needs any more.

To make or drop a day Postgres wants its table for itself: while that waits for a reader (a dump, a report), everybody
who comes later waits behind it, the workers' look-ups and writes too. So it waits a moment only, and the next look, an
hour later, tries again: there are days for it.
"""

from datetime import UTC, date, datetime, timedelta

import asyncpg

from processors.sql import Pool
from schemas.logs import get_logger

log = get_logger(__name__)

_TABLES = {"handled": "at", "delivery": "received_at"}
_AHEAD = 3
_REPLAYS_DAYS = 35
"""For how long ended replays are kept at least: what is cancelled must be known while its topic has something of it."""
_BATCH = 1000
# What others hold at the moment is left to the next hour: nobody waits for anybody, so that nobody deadlocks.
_DELETE_REPLAYS = """
DELETE FROM replay WHERE ctid = ANY(ARRAY(
    SELECT r.ctid FROM replay AS r WHERE r.ended_at < $1
    AND NOT EXISTS (SELECT FROM parked AS p WHERE p.run = r.id AND p.run <> 'live')
    LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""
_DELETE_BUDGETS = """
DELETE FROM budget WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM budget WHERE saved_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""
_LOCK = 0x1E7E16A7E
"""One worker at a time keeps the days; any number will do that no other advisory lock of ours has."""

_LOCK_TIMEOUT = "1s"
"""How long all workers may stand still for a table that somebody reads; each worker tries once an hour.

ATTACH PARTITION would lock the table itself less, but the default partition as much, which every look-up reads too; and
where there is one, DETACH CONCURRENTLY is refused.
"""


async def keep_days(pool: Pool, *, days: int, now: datetime) -> None:
    """Make the partitions of today and the next days, drop those older than `days` and delete what is as old.

    A table in use is left alone, until the next call.
    """
    before = now - timedelta(days=days)
    try:
        for table in _TABLES:
            await _make(pool, table, now.astimezone(UTC).date())
            await _drop(pool, table, before.astimezone(UTC).date())
    except asyncpg.LockNotAvailableError:
        log.warning("days_put_off", hint="something reads the ledger's tables, a dump perhaps: tried again in an hour")
    async with pool.acquire() as connection:
        for table, column in _TABLES.items():
            await connection.execute(f"DELETE FROM {table}_default WHERE {column} < $1", before)
        # A discarded pair is remembered as long as a done one.
        await connection.execute("DELETE FROM dead WHERE discarded_at < $1", before)
    await _delete(pool, _DELETE_REPLAYS, now - timedelta(days=max(days, _REPLAYS_DAYS)))
    await _delete(pool, _DELETE_BUDGETS, before)


async def _make(pool: Pool, table: str, today: date) -> None:
    have = await _days(pool, table)
    for day in (today + timedelta(days=ahead) for ahead in range(_AHEAD + 1)):
        name = f"{table}_{day:%Y%m%d}"
        if name in have:
            continue
        try:
            await _alter(
                pool,
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')",
            )
        except asyncpg.CheckViolationError:
            # The default partition has rows of that day already: they stay there until their age takes them.
            log.warning("day_left_in_default", table=table, day=str(day))


async def _drop(pool: Pool, table: str, before: date) -> None:
    for name in await _days(pool, table):
        if name < f"{table}_{before:%Y%m%d}" and await _alter(pool, f"DROP TABLE IF EXISTS {name}"):
            log.info("day_dropped", table=name)


async def _days(pool: Pool, table: str) -> list[str]:
    """Return the day partitions of a table, the oldest first."""
    rows = await pool.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass",
        table,
    )
    return sorted(row["relname"] for row in rows if row["relname"].removeprefix(f"{table}_").isdigit())


async def _alter(pool: Pool, sql: str) -> bool:
    """Change one day's table, unless another worker is at it. Raises LockNotAvailableError where it is in use."""
    # A transaction each: both tables' locks at once, in another order than the ledger's writes take them, deadlock.
    async with pool.acquire() as connection, connection.transaction():
        is_ours: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK)
        if is_ours:
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            await connection.execute(sql)
    return is_ours


async def _delete(pool: Pool, query: str, before: datetime) -> None:
    """Delete in small transactions until none of that age is left."""
    deleted = _BATCH
    while deleted == _BATCH:
        async with pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return
            deleted = int((await connection.execute(query, before, _BATCH)).removeprefix("DELETE "))
