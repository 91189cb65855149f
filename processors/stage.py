"""What stands for the pool in a rehearsal: one connection in a transaction that is always rolled back.

A handler sees its own writes, nobody else does, and after the run they are gone. A statement that fails leaves the
later ones alone, as on a pool; one that would end the transaction is refused. Rows that were written stay locked until
the run has ended. Sequences are not rolled back: Postgres never does that.
"""

import asyncio
import contextlib
import re
from collections.abc import Generator
from functools import partial
from typing import Any, Self, TypeAlias

import asyncpg
from asyncpg.transaction import Transaction

from processors.sql import Pool, queries
from schemas.errors import Permanent

_LOCK_TIMEOUT = "10s"
_IDLE_TIMEOUT = "150s"
"""Longer than a handler may take by default: only a process that stands still lets it end."""

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_SQL = queries(__file__)

_STATEMENTS = frozenset(
    {
        "copy_from_query",
        "copy_from_table",
        "copy_records_to_table",
        "copy_to_table",
        "execute",
        "executemany",
        "fetch",
        "fetchmany",
        "fetchrow",
        "fetchval",
    }
)
_PREPARING = frozenset({"cursor", "prepare"})
_HARMLESS = frozenset(
    {
        "get_server_pid",
        "get_server_version",
        "get_settings",
        "is_closed",
        "is_in_transaction",
        "set_builtin_type_codec",
        "set_type_codec",
    }
)

_QUOTED = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ENDING = re.compile(
    r"(?:^|;)\s*(?:COMMIT|END|ABORT|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION)\b",
    re.IGNORECASE,
)


def ends_transaction(query: str) -> bool:
    """Whether one of the statements in `query` would end the transaction that it runs in."""
    return _ENDING.search(_QUOTED.sub(" ", query)) is not None


class Stage:
    """The pool's methods that handlers use, for one run; as a context it rolls back at its end.

    Takes a connection of `pool` at the first use. What the real ones raise passes through; Permanent for what can't
    be rehearsed.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        async with self._lock:
            connection, transaction = self._connection, self._transaction
            self._connection = None
            if connection is None:
                return
            try:
                # Where this fails, the connection is gone and its transaction with it, or the release resets it.
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    if transaction is not None and connection.is_in_transaction():
                        await transaction.rollback()
            finally:
                await self._pool.release(connection)

    def acquire(self, *, timeout: float | None = None) -> "_Acquired":
        """Return the one connection, to be awaited or entered, as `Pool.acquire` does."""
        del timeout
        return _Acquired(self)

    async def release(self, connection: "StagedConnection", *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Do nothing: the connection is the run's."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the pool's method of this name
        if name in _STATEMENTS:
            return partial(self.statement, name)
        raise AttributeError(f"ctx.db.{name} can't be rehearsed")

    async def statement(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the connection's own
        """Run a method of the connection so that a failure of it undoes that statement alone."""
        _refuse_ending(args, kwargs)
        async with self._lock:
            connection = await self.connection()
            async with connection.transaction():
                return await getattr(connection, name)(*args, **kwargs)

    async def begin(self) -> Transaction:
        """Begin what the handler takes for a transaction: a savepoint."""
        async with self._lock:
            transaction = (await self.connection()).transaction()
            await transaction.start()
        return transaction

    async def end(self, transaction: Transaction, *, commit: bool) -> None:
        """End a savepoint of `begin`."""
        async with self._lock:
            await (transaction.commit() if commit else transaction.rollback())

    async def connection(self) -> Connection:
        """Return the connection within its transaction; to be called under the lock, or before the run."""
        if self._is_over:
            raise asyncpg.InterfaceError("the run of this handler has ended: its database is closed")
        if self._connection is None:
            connection = await self._pool.acquire()
            self._connection = connection
            self._transaction = connection.transaction()
            await self._transaction.start()
            await _SQL.be_brief(connection, lock_timeout=_LOCK_TIMEOUT, idle_timeout=_IDLE_TIMEOUT)
        if not self._connection.is_in_transaction():
            raise Permanent("the rehearsal's transaction has ended: nothing more is run in it")
        return self._connection


class StagedConnection:
    """The one connection, as a handler that acquired it sees it."""

    def __init__(self, stage: Stage, connection: Connection) -> None:
        self._stage = stage
        self._connection = connection

    def transaction(self, **_options: Any) -> "StagedTransaction":  # noqa: ANN401 -- asyncpg's; a savepoint has none
        """Return a savepoint that looks like a transaction."""
        return StagedTransaction(self._stage)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the connection's method of this name
        if name in _STATEMENTS:
            return partial(self._stage.statement, name)
        if name in _PREPARING:
            return partial(self._prepare, name)
        if name in _HARMLESS:
            return getattr(self._connection, name)
        raise AttributeError(f"a connection's {name} can't be rehearsed")

    def _prepare(self, name: str, query: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- asyncpg's own
        _refuse_ending((query,), {})
        return getattr(self._connection, name)(query, *args, **kwargs)


class StagedTransaction:
    """A savepoint with a transaction's methods."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._begun: Transaction | None = None

    async def start(self) -> None:
        """Begin."""
        self._begun = await self._stage.begin()

    async def commit(self) -> None:
        """Keep what was written since `start`, until the run ends."""
        await self._end(commit=True)

    async def rollback(self) -> None:
        """Undo what was written since `start`."""
        await self._end(commit=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._end(commit=kind is None)

    async def _end(self, *, commit: bool) -> None:
        begun, self._begun = self._begun, None
        if begun is None:
            raise asyncpg.InterfaceError("the transaction has not been started")
        await self._stage.end(begun, commit=commit)


class _Acquired:
    """Awaitable and context manager, as what `Pool.acquire` returns is both."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __await__(self) -> Generator[Any, None, StagedConnection]:
        return self._acquire().__await__()

    async def __aenter__(self) -> StagedConnection:
        return await self._acquire()

    async def __aexit__(self, *_: object) -> None:
        """Keep it: it is the run's."""

    async def _acquire(self) -> StagedConnection:
        stage = self._stage
        async with stage._lock:  # noqa: SLF001 -- of this module
            return StagedConnection(stage, await stage.connection())


def _refuse_ending(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    query = kwargs.get("query", args[0] if args else "")
    if isinstance(query, str) and ends_transaction(query):
        raise Permanent("a statement that ends the transaction can't be rehearsed: use connection.transaction()")
