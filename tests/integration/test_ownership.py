"""Renewals and writes of one worker at the same time."""

import asyncio

from processors.ownership import Ownership

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
