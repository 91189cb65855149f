"""Claims, renewals and writes at the same time, on a real Postgres."""

import asyncio

import asyncpg
import pytest

from levelgate.postgres import POSTGRES_AWAY
from processors.ownership import Ownership
from tests.support.eventually import eventually

NUMBERS = range(12)
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_renewal_and_a_write_that_come_together_wait_for_each_other_in_one_order(pool):
    lost: list[int] = []
    ownership = Ownership(pool, group="workers", worker="worker-1", session_timeout_s=60, lost=lost.append)
    for number in reversed(NUMBERS):
        await ownership.claim(number)

    async def write():
        async with pool.acquire() as connection, connection.transaction():
            return await ownership.hold(connection, ownership.epochs)

    async def until_locked(count):
        async with asyncio.timeout(10):
            while await pool.fetchval(LOCKED) < count:  # noqa: ASYNC110 -- in Postgres
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks, pool.acquire() as third, third.transaction():
        # Both have some of the rows, in their order, and wait for one in the middle.
        await third.execute("SELECT FROM partition_owner WHERE partition = 6 FOR UPDATE")
        tasks.create_task(ownership.renew())
        await until_locked(1)
        written = tasks.create_task(write())
        await until_locked(2)
    assert written.result() == set(NUMBERS)
    assert lost == []


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
