"""What a plan counts and looks up: on a real Kafka and Postgres."""

from processors.replays import plan
from processors.replays.plan import Measured

_PAIRS = """
INSERT INTO handled (at, app, tenant, delivery, run, handler, element, attempts, calls)
SELECT now(), 'demo', 't', 'd', 'live', $1, 0, 1, (
    SELECT jsonb_agg(jsonb_build_object('method', 'GET', 'path', '/contacts/123', 'status', 200, 'ms', 12.5))
    FROM generate_series(1, $3)
)
FROM generate_series(1, $2)
"""


async def pairs_done(pool, handler, count, *, calls):
    await pool.execute(_PAIRS, handler, count, calls)


async def test_calls_are_taken_from_all_over_the_day_not_from_its_first_burst(pool):
    await pairs_done(pool, "burst", 60_000, calls=8)  # more than is looked at
    await pairs_done(pool, "paging", 1000, calls=20)  # as many as are kept of a run

    assert await plan.recent_calls(pool) == {
        "burst": Measured(8.0),
        "paging": Measured(20.0, is_at_least=True),
    }


async def test_where_the_ledger_does_not_tell_in_time_nothing_is_measured(pool):
    async with pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE handled IN ACCESS EXCLUSIVE MODE")
        assert await plan.recent_calls(pool, timeout_s=0.2) is None
    assert await plan.recent_calls(pool) == {}
