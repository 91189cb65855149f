"""What workers delete by age, and how the ledger's days are made beside those who read it."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from processors.days import keep_days

DAYS = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'handled'::regclass"
LATER = datetime.now(UTC) + timedelta(days=50)


async def add_replay(pool, replay_id, state="finished", *, ended=True):
    await pool.execute(
        "INSERT INTO replay (id, state, selection, cursor, rate, total, ended_at)"
        " VALUES ($1, $2, '{}', '{}', 1, 1, CASE WHEN $3 THEN now() END)",
        replay_id,
        state,
        ended,
    )


async def park(pool, run):
    await pool.execute(
        "INSERT INTO parked VALUES ('demo', 'location-1', 'd-1', $1, 'greet', 0, 'workers', 't', 0, 0, 'c',"
        " 'ContactCreate', 'disconnected', 0, now(), '[]', '[]', now())",
        run,
    )


async def add_budgets(pool, count):
    await pool.execute(
        "INSERT INTO budget SELECT 'workers', 'demo', 'location-' || n, 100, 10, 100, now(), 1000, 1000, NULL, '[]',"
        " NULL, now() FROM generate_series(1, $1::int) AS n",
        count,
    )


async def kept(pool):
    return {row["id"] for row in await pool.fetch("SELECT id FROM replay")}


async def test_ended_replays_go_when_the_ledger_has_forgotten_them_and_nothing_of_them_is_parked(pool):
    await add_replay(pool, "r-finished")
    await add_replay(pool, "r-cancelled", "cancelled")
    await add_replay(pool, "r-parked", "cancelled")
    await park(pool, "r-parked")
    await add_replay(pool, "r-paused", "paused", ended=False)
    everything = await kept(pool)

    # Workers must know what is cancelled for as long as its topic may have something of it.
    await keep_days(pool, days=1, now=datetime.now(UTC) + timedelta(days=30))
    await keep_days(pool, days=60, now=LATER)
    assert await kept(pool) == everything
    await keep_days(pool, days=35, now=LATER)
    assert await kept(pool) == {"r-parked", "r-paused"}


async def test_budgets_that_nobody_saved_for_as_long_go_but_for_those_that_somebody_writes(pool):
    await add_budgets(pool, 2500)
    await keep_days(pool, days=60, now=LATER)
    assert await pool.fetchval("SELECT count(*) FROM budget") == 2500

    async with pool.acquire() as worker, worker.transaction():
        await worker.execute("UPDATE budget SET interval_left = 99 WHERE tenant = 'location-7'")
        await keep_days(pool, days=35, now=LATER)
    assert await pool.fetchval("SELECT string_agg(tenant, ' ') FROM budget") == "location-7"


async def test_a_long_read_of_the_ledger_stops_nobody_else_and_the_days_are_made_after_it(database_url, pool):
    now = datetime.now(UTC)
    await keep_days(pool, days=35, now=now)
    before = await pool.fetchval(DAYS)
    dump = await asyncpg.connect(database_url)
    try:
        async with dump.transaction():
            await dump.execute("SELECT FROM handled, delivery")
            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(keep_days(pool, days=35, now=now + timedelta(days=1)))
                while not keeping.done():
                    await pool.fetch("SELECT FROM handled WHERE delivery = 'delivery-1' AND app = 'demo'")
        assert await pool.fetchval(DAYS) == before
        await keep_days(pool, days=35, now=now + timedelta(days=1))
        assert await pool.fetchval(DAYS) == before + 1
    finally:
        await dump.close()
