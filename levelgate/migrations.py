"""Applies the SQL migrations of `schemas/migrations`, in order, each once.

Never edits or drops what another version recorded: a migration that the database has and this version
does not know is left alone, so that old and new versions can run side by side.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources

import asyncpg
import msgspec

from levelgate.postgres import POSTGRES_AWAY
from schemas.errors import LevelgateError

_NAME = re.compile(r"(\d{4})_(?:pre|post)_[a-z0-9_]+\.sql")

# Any number will do, so long as every version uses the same: it makes two runs at once take turns.
_LOCK = 0x6C65_7665_6C67_6174

_CONNECT_TIMEOUT_S = 10.0
_ASK_TIMEOUT_S = 30.0
_TURN_TIMEOUT_S = 600.0
_APPLY_TIMEOUT_S = 3600.0

_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Migration(msgspec.Struct, frozen=True):
    """One file of `schemas/migrations`."""

    name: str
    sql: str


async def migrate(database_url: str, *, on_applied: Callable[[str], None] | None = None) -> list[str]:
    """Apply every pending migration and return their names; `on_applied` hears of each as it is committed.

    Each runs in a transaction of its own, together with its record. Runs at once take turns.
    A migration that can't get its locks within ten seconds fails rather than hold everybody up; run it again.
    """
    applied = []
    async with _connect(database_url) as connection:
        async with asyncio.timeout(_TURN_TIMEOUT_S):
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            await connection.execute(_CREATE_RECORD)
        for migration in await _pending(connection):
            async with asyncio.timeout(_APPLY_TIMEOUT_S), connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '10s'")
                await connection.execute(migration.sql)
                await connection.execute("INSERT INTO schema_migration (name) VALUES ($1)", migration.name)
            applied.append(migration.name)
            if on_applied is not None:
                on_applied(migration.name)
    return applied


async def pending(database_url: str) -> list[str]:
    """Return the names of the migrations that the database has not had yet, in the order they will be applied."""
    async with _connect(database_url) as connection:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            recorded = await connection.fetchval("SELECT to_regclass('schema_migration') IS NOT NULL")
        return [m.name for m in (await _pending(connection) if recorded else await asyncio.to_thread(migrations))]


def migrations() -> list[Migration]:
    """Return all migrations of this version in order.

    Raises LevelgateError for a file that is not called `NNNN_(pre|post)_name.sql`, or a number used twice.
    """
    files = sorted(
        (file for file in (resources.files("schemas") / "migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    numbers: set[str] = set()
    for file in files:
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise LevelgateError(f"migration {file.name} is not called NNNN_(pre|post)_name.sql")
        if match[1] in numbers:
            raise LevelgateError(f"two migrations have the number {match[1]}")
        numbers.add(match[1])
    return [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


async def _pending(connection: asyncpg.Connection) -> list[Migration]:
    async with asyncio.timeout(_ASK_TIMEOUT_S):
        rows = await connection.fetch("SELECT name FROM schema_migration")
    known = {row["name"] for row in rows}
    return [migration for migration in await asyncio.to_thread(migrations) if migration.name not in known]


@asynccontextmanager
async def _connect(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(database_url, timeout=_CONNECT_TIMEOUT_S)
    except (ValueError, *POSTGRES_AWAY) as error:
        # The driver's own text may repeat the URL, password included: only its kind is told.
        raise LevelgateError(
            f"Postgres can't be reached ({type(error).__name__}): check that it runs and LEVELGATE_DATABASE_URL"
        ) from None
    try:
        yield connection
    finally:
        await connection.close(timeout=_CONNECT_TIMEOUT_S)
