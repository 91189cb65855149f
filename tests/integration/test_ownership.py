"""The owner's row: held by a write, renewed beside it, taken over after it."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from levelgate.postgres import POSTGRES_AWAY
from processors.ownership import Ownership
from tests.support.eventually import eventually

NUMBERS = range(12)
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def lost():
    return []


@pytest.fixture
def owner(pool, lost):
    def of(worker):
        return Ownership(pool, group="workers", worker=worker, session_timeout_s=60, lost=lost.append)

    return of


@asynccontextmanager
async def held(pool, ownership):
    """Within a transaction, as a flush is one: the numbers that are still the worker's."""
    async with pool.acquire() as connection, connection.transaction():
        yield await ownership.hold(connection, ownership.epochs)


async def until_waiting(pool, count):
    await eventually(lambda: pool.fetchval(LOCKED), lambda waiting: waiting >= count)


async def test_a_renewal_and_a_write_that_come_together_wait_for_each_other_in_one_order(pool, owner, lost):
    ownership = owner("worker-1")
    for number in reversed(NUMBERS):
        await ownership.claim(number)

    async def write():
        async with held(pool, ownership) as numbers:
            return numbers

    async with asyncio.TaskGroup() as tasks, pool.acquire() as third, third.transaction():
        # Both have some of the rows, in their order, and wait for one in the middle.
        await third.execute("SELECT FROM partition_owner WHERE partition = 6 FOR UPDATE")
        tasks.create_task(ownership.renew())
        await until_waiting(pool, 1)
        written = tasks.create_task(write())
        await until_waiting(pool, 2)
    assert written.result() == set(NUMBERS)
    assert lost == []


async def test_a_take_over_waits_for_a_write_under_way_and_the_next_one_is_refused(pool, owner, lost):
    before, after = owner("worker-1"), owner("worker-2")
    epoch = await before.claim(0)
    async with asyncio.TaskGroup() as tasks, held(pool, before) as numbers:
        assert numbers == {0}
        taking = tasks.create_task(after.claim(0))
        await until_waiting(pool, 1)
    assert taking.result() == epoch + 1
    async with held(pool, before) as numbers:
        assert numbers == set()
    assert lost == [0]


async def test_who_takes_over_ends_what_the_former_owner_never_ends(settings, pool):
    url = settings.database_url.get_secret_value()
    lost: list[int] = []
    async with asyncpg.create_pool(url, min_size=1, server_settings={"application_name": "former"}) as its_pool:
        former = Ownership(its_pool, group="workers", worker="former", session_timeout_s=60, lost=lost.append)
        await former.claim(0)

        async def freeze():
            # Postgres calls it active, as it does a session that is frozen after a statement's preparation.
            async with its_pool.acquire() as connection, connection.transaction():
                await former.hold(connection, former.epochs)
                await connection.execute("SELECT pg_sleep(600)")

        async with asyncio.TaskGroup() as tasks:
            frozen = tasks.create_task(freezing(freeze()))
            await eventually(
                lambda: pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            )
            successor = Ownership(pool, group="workers", worker="successor", session_timeout_s=2, lost=lost.append)
            with pytest.raises(TimeoutError):
                await successor.claim(0)
            assert await successor.claim(0) == 2
        assert isinstance(frozen.result(), POSTGRES_AWAY)
        await former.renew()
    assert lost == [0]


async def freezing(transaction):
    """What ended a transaction."""
    return (await asyncio.gather(transaction, return_exceptions=True))[0]
