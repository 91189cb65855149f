"""What is kept for days: the day partitions of the ledger and of the delivery index, made ahead and dropped by age.

Rows that fit no day (an old `received_at` in a replay, a worker that was away for days) lie in the
default partition and are deleted by age, and so are replays and budgets that nobody needs any more.
"""

from datetime import UTC, datetime, timedelta

import asyncpg

from processors.sql import Connection, Pool
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


async def keep_days(pool: Pool, *, days: int, now: datetime) -> None:
    """Make the partitions of today and the next days, drop those older than `days` and delete what is as old."""
    # A transaction each: both tables' locks at once, in another order than the ledger's writes take them, deadlock.
    for table, column in _TABLES.items():
        async with pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return
            await _make(connection, table, now)
            await _drop(connection, table, column, now - timedelta(days=days))
    # A discarded pair is remembered as long as a done one.
    async with pool.acquire() as connection:
        await connection.execute("DELETE FROM dead WHERE discarded_at < $1", now - timedelta(days=days))
    await _delete(pool, _DELETE_REPLAYS, now - timedelta(days=max(days, _REPLAYS_DAYS)))
    await _delete(pool, _DELETE_BUDGETS, now - timedelta(days=days))


async def _make(connection: Connection, table: str, now: datetime) -> None:
    for ahead in range(_AHEAD + 1):
        day = (now.astimezone(UTC) + timedelta(days=ahead)).date()
        try:
            async with connection.transaction():
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}_{day:%Y%m%d} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
                )
        except asyncpg.CheckViolationError:
            # The default partition has rows of that day already: they stay there until their age takes them.
            log.warning("day_left_in_default", table=table, day=str(day))


async def _drop(connection: Connection, table: str, column: str, before: datetime) -> None:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass",
        table,
    )
    for name in sorted(row["relname"] for row in rows):
        suffix = name.removeprefix(f"{table}_")
        if suffix.isdigit() and suffix < f"{before.astimezone(UTC):%Y%m%d}":
            await connection.execute(f"DROP TABLE {name}")
            log.info("day_dropped", table=name)
    await connection.execute(f"DELETE FROM {table}_default WHERE {column} < $1", before)


async def _delete(pool: Pool, query: str, before: datetime) -> None:
    """Delete in small transactions until none of that age is left."""
    deleted = _BATCH
    while deleted == _BATCH:
        async with pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return
            deleted = int((await connection.execute(query, before, _BATCH)).removeprefix("DELETE "))
