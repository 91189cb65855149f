"""What a plan reads and looks up: on a real Kafka and Postgres."""

import pytest

from levelgate.broker import apply_topics
from processors.replays import plan
from processors.replays.plan import Measured
from processors.replays.reading import Silent, frozen, selected
from processors.replays.selection import Selection
from schemas.topics import Topics
from tests.support.deliveries import delivery, publish

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


@pytest.mark.expected_errors("^aiokafka")
async def test_reading_ends_when_kafka_does_not_answer_any_more(settings, pool, own_kafka):
    broker = await own_kafka()
    settings = settings.model_copy(update={"kafka": broker.settings(partitions=1)})
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    # So much that a client has to ask for it in several goes.
    records = [delivery(settings.kafka, body={"text": "x" * 900_000}) for _ in range(10)]
    await publish(settings.kafka, records)
    everything = Selection()
    cursor, _ = await frozen(settings, pool, everything)

    read = []

    async def reading():
        async for record in selected(settings, pool, everything, cursor, silent_s=3.0):
            read.append(record)
            if len(read) == 1:
                await broker.pause()

    with pytest.raises(Silent, match=f"at {Topics(settings.kafka).events('contact')}, partition 0, offset [1-9]:"):
        await reading()
    assert len(read) < len(records)
