"""What stands for the pool in a rehearsal: one connection in a transaction that is always rolled back.

A handler sees its own writes, nobody else does, and after the run they are gone. A statement that fails leaves the
later ones alone, as on a pool, or spoils the handler's own transaction that it stands in, as in a worker; one that
would end the transaction is refused. Rows that were written stay locked until the run has ended. Sequences are not
rolled back: Postgres never does that.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from asyncpg.transaction import Transaction

from levelgate.postgres import POSTGRES_AWAY
from processors.sql import Pool, queries
from processors.statements import Given, Statement, ends_transaction, repeatable, statement_of, text_of
from schemas.errors import Permanent

_LOCK_TIMEOUT = "10s"
_IDLE_TIMEOUT = "150s"
"""Longer than a handler may take by default: only a process that stands still lets it end."""

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

Result = TypeVar("Result")

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
_PREPARED_STATEMENTS = frozenset({"executemany", "explain", "fetch", "fetchmany", "fetchrow", "fetchval"})
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
_PREPARED_HARMLESS = frozenset({"get_attributes", "get_name", "get_parameters", "get_query", "get_statusmsg"})


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
        self.statements: list[Statement] = []
        """What was asked so far, in its order, what failed too."""

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
                with contextlib.suppress(*POSTGRES_AWAY):
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
        """Run a method of the connection that stands in no transaction of the handler's."""
        args, kwargs = self.asked(name, args, kwargs)
        return await self.run(lambda connection: getattr(connection, name)(*args, **kwargs), in_transaction=False)

    def asked(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Given:
        """Take note of a statement; return its arguments, to be used instead. Raises Permanent if it must not run."""
        _refuse_ending(text_of(args, kwargs))
        args, kwargs = repeatable(method, args, kwargs)
        self.statements.append(statement_of(method, args, kwargs))
        return args, kwargs

    async def run(self, work: Callable[[Connection], Awaitable[Result]], *, in_transaction: bool) -> Result:
        """Do `work`, one at a time; a failure undoes that alone, unless a transaction of the handler's is to suffer."""
        async with self._lock:
            connection = await self.connection()
            if in_transaction:
                return await work(connection)
            async with connection.transaction():
                return await work(connection)

    async def begin(self) -> Transaction:
        """Begin what the handler takes for a transaction: a savepoint."""
        self.statements.append(Statement("BEGIN"))
        async with self._lock:
            transaction = (await self.connection()).transaction()
            await transaction.start()
        return transaction

    async def end(self, transaction: Transaction, *, commit: bool, is_inner: bool) -> None:
        """End a savepoint of `begin`; to commit an outer one in which something failed is to undo it, without an error.

        This is what Postgres makes of such a COMMIT.
        """
        self.statements.append(Statement("COMMIT" if commit else "ROLLBACK"))
        async with self._lock:
            kept = commit and (is_inner or await self._is_usable())
            await (transaction.commit() if kept else transaction.rollback())

    async def _is_usable(self) -> bool:
        try:
            await _SQL.ping(await self.connection())
        except asyncpg.InFailedSQLTransactionError:
            return False
        return True

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
        self.transactions = 0
        """How many that were begun on it are open, one within another."""

    def transaction(self, **_options: Any) -> "StagedTransaction":  # noqa: ANN401 -- asyncpg's; a savepoint has none
        """Return a savepoint that looks like a transaction."""
        return StagedTransaction(self._stage, self)

    async def prepare(self, query: str, **options: Any) -> "StagedStatement":  # noqa: ANN401 -- asyncpg's
        """Prepare a statement, to be run as often as one likes."""
        _refuse_ending(query)
        return StagedStatement(
            self._stage, self, query, await self.run(lambda connection: connection.prepare(query, **options))
        )

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- asyncpg's own
        """Return a cursor. Raises NoActiveSQLTransactionError outside a transaction of the handler's."""
        self.want_transaction()
        self._stage.asked("cursor", (query, *args), options)
        return self._connection.cursor(query, *args, **options)

    async def run(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Do `work` in the transaction that is open on this connection, by itself where none is."""
        return await self._stage.run(work, in_transaction=self.transactions > 0)

    def want_transaction(self) -> None:
        """Raise what a cursor outside a transaction does, where the handler began none: the stage's is not its own."""
        if not self.transactions:
            raise asyncpg.NoActiveSQLTransactionError("cursor cannot be created outside of a transaction")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the connection's method of this name
        if name in _STATEMENTS:
            return partial(self._statement, name)
        if name in _HARMLESS:
            return getattr(self._connection, name)
        raise AttributeError(f"a connection's {name} can't be rehearsed")

    async def _statement(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the connection's own
        args, kwargs = self._stage.asked(name, args, kwargs)
        return await self.run(lambda connection: getattr(connection, name)(*args, **kwargs))


class StagedStatement:
    """A prepared statement of the one connection."""

    def __init__(
        self, stage: Stage, connection: StagedConnection, query: str, prepared: "PreparedStatement[asyncpg.Record]"
    ) -> None:
        self._stage = stage
        self._connection = connection
        self._query = query
        self._prepared = prepared

    def cursor(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- asyncpg's own
        """Return a cursor. Raises NoActiveSQLTransactionError outside a transaction of the handler's."""
        self._connection.want_transaction()
        self._stage.asked("cursor", (self._query, *args), options)
        return self._prepared.cursor(*args, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the statement's method of this name
        if name in _PREPARED_STATEMENTS:
            return partial(self._statement, name)
        if name in _PREPARED_HARMLESS:
            return getattr(self._prepared, name)
        raise AttributeError(f"a prepared statement's {name} can't be rehearsed")

    async def _statement(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the statement's own
        (_, *values), kwargs = self._stage.asked(name, (self._query, *args), kwargs)
        return await self._connection.run(lambda _: getattr(self._prepared, name)(*values, **kwargs))


class StagedTransaction:
    """A savepoint with a transaction's methods."""

    def __init__(self, stage: Stage, connection: StagedConnection) -> None:
        self._stage = stage
        self._connection = connection
        self._begun: Transaction | None = None

    async def start(self) -> None:
        """Begin."""
        self._begun = await self._stage.begin()
        self._connection.transactions += 1

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
        self._connection.transactions -= 1
        await self._stage.end(begun, commit=commit, is_inner=self._connection.transactions > 0)


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


def _refuse_ending(query: str) -> None:
    if ends_transaction(query):
        raise Permanent("a statement that ends the transaction can't be rehearsed: use connection.transaction()")
