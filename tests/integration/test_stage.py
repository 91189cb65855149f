"""The database that a rehearsed handler sees, on a real Postgres: all that a pool does, and nothing of it stays."""

import asyncio

import asyncpg
import pytest

from levelgate import Permanent
from processors.stage import Stage


@pytest.fixture
async def pool(pool):
    await pool.execute("CREATE TABLE notes (id integer PRIMARY KEY, text text)")
    await pool.execute("INSERT INTO notes VALUES (1, 'as before')")
    return pool


async def notes(database):
    return [tuple(row) for row in await database.fetch("SELECT id, text FROM notes ORDER BY id")]


async def test_a_run_sees_its_own_writes_and_leaves_none(pool):
    async with Stage(pool) as db:
        await db.execute("UPDATE notes SET text = $1 WHERE id = 1", "changed")
        await db.executemany("INSERT INTO notes VALUES ($1, $2)", [(2, "two"), (3, "three")])
        await db.copy_records_to_table("notes", records=[(4, "four")])
        async with db.acquire() as connection, connection.transaction(isolation="serializable"):
            await connection.execute("INSERT INTO notes VALUES (5, 'five')")
            assert [row["id"] async for row in connection.cursor("SELECT id FROM notes ORDER BY id")] == [1, 2, 3, 4, 5]
        acquired = await db.acquire()
        assert await acquired.fetchval("SELECT text FROM notes WHERE id = 1") == "changed"
        await db.release(acquired)
        assert await pool.fetchval("SELECT count(*) FROM notes") == 1

    assert await notes(pool) == [(1, "as before")]


async def test_a_statement_that_fails_and_a_transaction_that_is_undone_leave_the_rest_alone(pool):
    async with Stage(pool) as db:
        await db.execute("INSERT INTO notes VALUES (2, 'two')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await db.execute("INSERT INTO notes VALUES (2, 'again')")
        async with db.acquire() as connection:
            undone = connection.transaction()
            await undone.start()
            await connection.execute("DELETE FROM notes")
            await undone.rollback()
        assert await notes(db) == [(1, "as before"), (2, "two")]


async def goes_on_after_it_failed(db):
    async with db.acquire() as connection, connection.transaction():
        await twice(connection)
        await connection.execute("INSERT INTO notes VALUES (3, 'three')")


async def ends_after_it_failed(db):
    async with db.acquire() as connection, connection.transaction():
        await twice(connection)


async def ends_an_inner_one_after_it_failed(db):
    async with db.acquire() as connection, connection.transaction(), connection.transaction():
        await twice(connection)


async def undoes_an_inner_one(db):
    async with db.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO notes VALUES (2, 'two')")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO notes VALUES (2, 'again')")
        await connection.execute("INSERT INTO notes VALUES (3, 'three')")


async def fails_beside_it(db):
    async with db.acquire() as connection, connection.transaction():
        with pytest.raises(asyncpg.UndefinedTableError):
            await db.execute("SELECT FROM nothing")
        await connection.execute("INSERT INTO notes VALUES (2, 'two')")


async def prepares(db):
    async with db.acquire() as connection:
        insert = await connection.prepare("INSERT INTO notes VALUES ($1, $2) RETURNING id")
        assert [await insert.fetch(n, "prepared") for n in (2, 3)] == [[(2,)], [(3,)]]
        assert insert.get_statusmsg() == "INSERT 0 1"
        with pytest.raises(asyncpg.UniqueViolationError):
            await insert.fetchval(2, "again")
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.prepare("SELECT FROM nothing")
        async with connection.transaction():
            with pytest.raises(asyncpg.UniqueViolationError):
                await insert.fetchval(2, "again")
            await insert.fetchval(4, "four")


async def reads_by_a_cursor(db):
    async with db.acquire() as connection:
        async with connection.transaction():
            assert [row["id"] async for row in connection.cursor("SELECT id FROM notes")] == [1]
            prepared = await connection.prepare("SELECT 1 / (id - $1) FROM notes")
            assert [row[0] async for row in prepared.cursor(2)] == [-1]
            with pytest.raises(asyncpg.DivisionByZeroError):
                await (await prepared.cursor(1)).fetchrow()
        await connection.execute("INSERT INTO notes VALUES (2, 'two')")
        async for _ in connection.cursor("SELECT id FROM notes"):
            pass


async def twice(connection):
    await connection.execute("INSERT INTO notes VALUES (2, 'two')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO notes VALUES (2, 'again')")


@pytest.mark.parametrize(
    "handler",
    [
        goes_on_after_it_failed,
        ends_after_it_failed,
        ends_an_inner_one_after_it_failed,
        undoes_an_inner_one,
        fails_beside_it,
        prepares,
        reads_by_a_cursor,
    ],
)
async def test_what_fails_ends_as_it_does_on_a_pool(pool, handler):
    async def ended(db):
        raised = None
        try:
            await handler(db)
        except asyncpg.PostgresError as error:
            raised = type(error)
        return raised, await notes(db)

    async with Stage(pool) as db:
        rehearsed = await ended(db)

    assert rehearsed == await ended(pool)


async def test_all_that_is_asked_is_noted_in_its_order(pool):
    async with Stage(pool) as db:
        await db.executemany("INSERT INTO notes VALUES ($1, $2)", ((n, "many") for n in (2, 3)))
        async with db.acquire() as connection:
            await (await connection.prepare("SELECT $1::int")).fetchval(4)
            async with connection.transaction():
                await connection.cursor("SELECT $1::int", 5)
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO notes VALUES (1)")
        assert await db.fetchval("SELECT count(*) FROM notes") == 3

    assert [(each.named, *each.arguments) for each in db.statements] == [
        ("INSERT INTO notes VALUES ($1, $2)", "(2, 'many')", "(3, 'many')"),
        ("SELECT $1::int", "4"),
        ("BEGIN",),
        ("SELECT $1::int", "5"),
        ("COMMIT",),
        ("BEGIN",),
        ("INSERT INTO notes VALUES (1)",),
        ("ROLLBACK",),
        ("SELECT count(*) FROM notes",),
    ]


async def test_what_is_asked_at_once_is_answered_one_after_another(pool):
    async with Stage(pool) as db, db.acquire() as one, db.acquire() as other:
        asked = [each.fetchval("SELECT $1::int", n) for n in range(5) for each in (db, one, other)]
        answers = await asyncio.gather(*asked)

    assert answers == [n for n in range(5) for _ in range(3)]


@pytest.mark.parametrize("ending", ["COMMIT", "INSERT INTO notes VALUES (9, 'nine'); COMMIT", "ROLLBACK"])
async def test_a_transaction_is_not_ended_by_a_handler(pool, ending):
    async with Stage(pool) as db:
        await db.execute("INSERT INTO notes VALUES (2, 'two')")
        for run in (db.execute, (await db.acquire()).execute, (await db.acquire()).prepare):
            with pytest.raises(Permanent, match="can't be rehearsed"):
                await run(ending)

    assert await notes(pool) == [(1, "as before")]


async def test_what_a_run_must_not_do_to_a_pool_is_not_there(pool):
    async with Stage(pool) as db:
        for name in ("close", "terminate", "expire_connections"):
            assert not hasattr(db, name)
        connection = await db.acquire()
        for name in ("close", "terminate", "reset", "add_listener"):
            assert not hasattr(connection, name)
    with pytest.raises(asyncpg.InterfaceError, match="has ended"):
        await db.fetch("SELECT 1")


async def test_a_run_that_is_cut_off_leaves_nothing_either(pool):
    async def run():
        async with Stage(pool) as db:
            await db.execute("INSERT INTO notes VALUES (2, 'two')")
            begun.set()
            await db.execute("SELECT pg_sleep(60)")

    begun = asyncio.Event()
    running = asyncio.create_task(run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await notes(pool) == [(1, "as before")]
    assert pool.get_idle_size() == pool.get_size()
