"""Dead letters, given up for good, and what stays of them."""

import asyncio

import pytest

from levelgate import Permanent
from processors.dead_letters import list_dead, show_dead
from processors.deliveries import trace
from processors.filters import PairFilter
from processors.redrive import Discarded
from tests.support.commands import levelgate
from tests.support.dead_letters import chosen, discarded, killed, redriven
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", max_attempts=2)


async def test_discarded_pairs_are_forgotten_with_the_days_of_the_ledger(settings, pool):
    await killed(settings, pool, 2)
    (old, _) = await chosen(pool)
    await discarded(pool, PairFilter(deliveries=(old.pair.delivery,)))
    await pool.execute("UPDATE dead SET discarded_at = now() - interval '40 days' WHERE discarded_at IS NOT NULL")
    async with working(settings):
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM dead"), lambda count: count == 1)


async def test_a_discarded_pair_stays_as_a_trace_and_a_later_copy_does_not_run(settings, pool):
    (record,), switch = await killed(settings, pool, 1)

    assert await discarded(pool) == Discarded(1, 1)

    assert await list_dead(pool) == []
    assert await chosen(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM held") == 0
    (found,) = await trace(pool, record.envelope.id)
    assert (found.state, found.handlers[0].state) == ("dead", "discarded")
    assert found.handlers[0].last_error == f"Permanent: broken for {record.envelope.id}"
    (shown,) = await show_dead(pool, record.envelope.id)
    assert shown["discarded_at"]
    assert shown["body"] is None
    async with working(settings, handler(switch.switch)):
        await publish(settings.kafka, [record])
        await eventually(lambda: committed(settings), lambda count: count == 2)
    assert len(switch.runs) == 1


async def test_a_discarded_letter_of_a_replay_does_not_hide_the_live_ones_body(settings, pool):
    (record,), _ = await killed(settings, pool, 1)
    of_a_replay = '{"run": "replay-1", "discarded_at": "2026-11-24"}'
    await pool.execute("INSERT INTO dead SELECT (jsonb_populate_record(dead, $1)).* FROM dead", of_a_replay)

    code, output, _ = await levelgate(settings, "dead", "show", record.envelope.id, "--body")

    assert code == 0
    live, replayed = output.partition("body of app demo's delivery, replay replay-1")[::2]
    assert record.body.decode() in live
    assert "deleted" in replayed


async def test_a_body_goes_when_nobody_needs_it_any_more(settings, pool):
    async def one(event, ctx):
        raise Permanent("one")

    async def other(event, ctx):
        if is_broken:
            raise Permanent("other")

    is_broken = True
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(one), handler(other)):
        await eventually(lambda: list_dead(pool), lambda rows: len(rows) == 2)
        assert await discarded(pool, PairFilter(handler="one")) == Discarded(1, 0)
        assert await pool.fetchval("SELECT count(*) FROM held") == 1
        is_broken = False
        await redriven(pool)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM held"), lambda count: count == 0)

    (found,) = await trace(pool, record.envelope.id)
    assert {(h.name, h.state) for h in found.handlers} == {("one", "discarded"), ("other", "done")}


async def test_a_discard_waits_for_what_the_partitions_owner_is_writing(settings, pool):
    (record,), _ = await killed(settings, pool, 1)
    async with pool.acquire() as owner:
        writing = owner.transaction()
        await writing.start()
        await owner.execute("SELECT FROM partition_owner FOR SHARE")
        # The owner parks another handler's pair of the delivery: it needs the body.
        await owner.execute(
            "INSERT INTO parked SELECT app, tenant, delivery, run, 'another', element, group_id, topic, partition, "
            "record_offset, entity, type, 'retry', 1, 'infinity', errors, calls, now() FROM dead"
        )
        discarding = asyncio.create_task(discarded(pool))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await eventually(lambda: pool.fetchval(waiting))
        await writing.commit()
        assert await discarding == Discarded(1, 0)
    assert await pool.fetchval("SELECT body FROM held") == record.body
