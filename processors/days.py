"""The day partitions of the ledger and of the delivery index: made ahead, dropped by age.

Rows that fit no day (an old `received_at` in a replay, a worker that was away for days) lie in the
default partition and are deleted by age.
"""

from datetime import UTC, datetime, timedelta

import asyncpg

from processors.sql import Connection, Pool
from schemas.logs import get_logger

log = get_logger(__name__)

_TABLES = {"handled": "at", "delivery": "received_at"}
_AHEAD = 3
_LOCK = 0x1E7E16A7E
"""One worker at a time keeps the days; any number will do that no other advisory lock of ours has."""


async def keep_days(pool: Pool, *, days: int, now: datetime) -> None:
    """Make the partitions of today and the next days, drop those older than `days`."""
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
