"""Dead letters, run again: on a real Kafka and Postgres, by a worker of this process."""

import asyncio

import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from levelgate import Permanent
from levelgate.broker import client_options
from processors.dead_letters import choose_dead, count_dead, list_dead
from processors.deliveries import trace
from processors.filters import PairFilter
from processors.parking import list_parked
from processors.redrive import Discarded, NotTaken, Outcomes, discard, ended, redrive
from schemas.topics import Topics
from tests.support.commands import levelgate
from tests.support.dead_letters import Switch, chosen, killed, redriven
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", max_attempts=2)


async def test_a_redriven_pair_really_runs_again_and_is_done(settings, pool):
    record = delivery(settings.kafka)
    switch = Switch(record.envelope.id)
    await publish(settings.kafka, [record])
    # The worker that recorded its death still has that in memory: it must run nevertheless.
    async with working(settings, handler(switch.switch)):
        await until(pool, [record], "dead")
        switch.broken.clear()
        assert len(await redriven(pool)) == 1
        await until(pool, [record], "handled")

        # The once-ledger holds for copies that come later.
        await publish(settings.kafka, [record])
        await eventually(lambda: committed(settings), lambda count: count == 2)

    assert (switch.runs, switch.attempts) == ([record.envelope.id] * 2, [1, 1])
    assert await list_dead(pool) == await list_parked(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_what_a_worker_redrives_after_a_restart_keeps_its_body_and_history(settings, pool):
    (record,), switch = await killed(settings, pool, 1)
    await redriven(pool)
    (parked,) = await list_parked(pool)
    assert (parked["reason"], parked["attempts"]) == ("redriven", 0)
    assert [each["message"] for each in parked["errors"]] == [f"broken for {record.envelope.id}"]
    assert await pool.fetchval("SELECT body FROM held") == record.body

    switch.broken.clear()
    async with working(settings, handler(switch.switch)) as worker:
        await until(pool, [record], "handled")
        # Its line is free: what comes later does not park.
        after = delivery(settings.kafka, entity=record.entity)
        await publish(settings.kafka, [after])
        await until(pool, [after], "handled")
        labels = {"handler": "switch", "type": "ContactCreate", "outcome": "parked"}
        assert worker.collector.get_sample_value("levelgate_pairs_handled_total", labels) is None
        assert await pool.fetchval("SELECT count(*) FROM handled") == 2


async def test_one_that_dies_again_is_listed_and_published_again(settings, pool):
    record = delivery(settings.kafka)
    switch = Switch(record.envelope.id)
    await publish(settings.kafka, [record])
    async with (
        AIOKafkaConsumer(
            Topics(settings.kafka).dead, **client_options(settings.kafka), auto_offset_reset="earliest"
        ) as outside,
        working(settings, handler(switch.switch)),
    ):
        first = await asyncio.wait_for(outside.getone(), 15)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM dead WHERE published_at IS NOT NULL"))
        await redriven(pool)
        second = await asyncio.wait_for(outside.getone(), 15)
        await until(pool, [record], "dead")

    assert first.value == second.value == record.body
    assert dict(first.headers)["levelgate_diedat"] < dict(second.headers)["levelgate_diedat"]
    (dead,) = await list_dead(pool)
    assert (dead["attempts"], len(dead["errors"])) == (1, 2)


async def test_one_that_died_anew_since_it_was_chosen_is_left_alone(settings, pool):
    (record,), switch = await killed(settings, pool, 1)
    counted = await count_dead(pool)
    before = await chosen(pool)

    async def chosen_before():
        yield before

    assert [len(batch) async for batch in redrive(pool, chosen_before())] == [1]
    async with working(settings, handler(switch.switch)):
        await until(pool, [record], "dead")
        assert not any([pairs async for pairs in choose_dead(pool, counted)])
        assert [len(batch) async for batch in redrive(pool, chosen_before())] == [0]
        assert [each async for each in discard(pool, chosen_before())] == [Discarded(0, 0)]
    assert len(switch.runs) == 2


async def test_two_redrives_at_once_move_each_pair_once(settings, pool):
    records, switch = await killed(settings, pool, 30)
    switch.broken.clear()
    switch.runs.clear()
    async with working(settings, handler(switch.switch)):
        moved = await asyncio.gather(*(redriven(pool) for _ in range(4)))
        await until(pool, records, "handled")

    assert sum(map(len, moved)) == 30
    assert sorted(switch.runs) == sorted(record.envelope.id for record in records)


async def test_live_events_of_the_entity_keep_their_order_while_a_redriven_one_runs_beside_none(settings, pool):
    order: list[str] = []
    running = most = 0
    entered, go_on = asyncio.Event(), asyncio.Event()
    failures: dict[str, int] = {}

    async def careful(event, ctx):
        nonlocal running, most
        if ctx.delivery.id != other.envelope.id:
            running += 1
            most = max(most, running)
        try:
            if ctx.delivery.id == blocking.envelope.id:
                entered.set()
                await go_on.wait()
            await asyncio.sleep(0)
            if failures.get(ctx.delivery.id, 0):
                failures[ctx.delivery.id] -= 1
                raise Permanent("dead") if ctx.delivery.id in doomed else RuntimeError("not yet")
            order.append(ctx.delivery.id)
        finally:
            running -= ctx.delivery.id != other.envelope.id

    settings = quick(settings, max_attempts=5)
    other = delivery(settings.kafka, entity="contact-2")
    dead = [*(delivery(settings.kafka) for _ in range(3)), other]
    doomed = {record.envelope.id for record in dead}
    failures |= dict.fromkeys(doomed, 1)
    blocking = delivery(settings.kafka)
    fragile = delivery(settings.kafka)
    failures[fragile.envelope.id] = 3
    later = [delivery(settings.kafka) for _ in range(20)]
    live = [blocking, fragile, *later]
    async with working(settings, handler(careful)):
        await publish(settings.kafka, dead)
        await until(pool, dead, "dead")
        # A redriven one comes while a live event runs, others while the line of a failed one waits.
        await publish(settings.kafka, live)
        await asyncio.wait_for(entered.wait(), 15)
        await redriven(pool, PairFilter(deliveries=(dead[0].envelope.id, other.envelope.id)))
        # Of another entity, taken by the same poll: the first had its chance, too.
        await until(pool, [other], "handled")
        go_on.set()
        await eventually(lambda: list_parked(pool, PairFilter(deliveries=(later[-1].envelope.id,))))
        await redriven(pool)
        after = delivery(settings.kafka)
        await publish(settings.kafka, [after])
        await until(pool, [*dead, *live, after], "handled")

    assert [d for d in order if d not in doomed] == [r.envelope.id for r in [*live, after]]
    assert sorted(d for d in order if d in doomed) == sorted(doomed)
    assert most == 1
    assert await list_parked(pool) == []


async def test_a_redriven_pair_that_leaves_does_not_let_a_live_event_pass_the_parked_ones(settings, pool):
    order: list[str] = []
    is_open = False

    async def gated(event, ctx):
        if ctx.delivery.id == dead.envelope.id and not dead_runs:
            dead_runs.append(1)
            raise Permanent("dead")
        if ctx.delivery.id == first.envelope.id and not is_open:
            raise RuntimeError("not yet")
        order.append(ctx.delivery.id)

    dead_runs: list[int] = []
    settings = quick(settings, max_attempts=1000)
    dead, first, last = (delivery(settings.kafka) for _ in range(3))
    async with working(settings, handler(gated)):
        await publish(settings.kafka, [dead])
        await until(pool, [dead], "dead")
        await publish(settings.kafka, [first])
        await until(pool, [first], "parked")
        await redriven(pool)
        await until(pool, [dead], "handled")
        # One is parked still: were the line miscounted, the last would run now.
        await publish(settings.kafka, [last])
        await until(pool, [last], "parked")
        is_open = True
        await until(pool, [last], "handled")

    assert order == [dead.envelope.id, first.envelope.id, last.envelope.id]


async def test_live_pairs_in_line_do_not_wait_for_a_redriven_one_that_has_not_run(settings, pool):
    is_open = False
    go_on = asyncio.Event()

    async def slow(event, ctx):
        if ctx.delivery.id == long.envelope.id:
            await go_on.wait()

    async def strict(event, ctx):
        if ctx.delivery.id == dead.envelope.id and ctx.delivery.id not in died:
            died.append(ctx.delivery.id)
            raise Permanent("dead")
        if ctx.delivery.id == head.envelope.id and not is_open:
            raise RuntimeError("not yet")

    async def is_done(record):
        return ("strict", "done") in {
            (h.name, h.state) for t in await trace(pool, record.envelope.id) for h in t.handlers
        }

    died: list[str] = []
    dead, head, behind, long = (delivery(settings.kafka) for _ in range(4))
    async with working(quick(settings, max_attempts=1000), handler(slow), handler(strict)):
        await publish(settings.kafka, [dead])
        await until(pool, [dead], "dead")
        await publish(settings.kafka, [head, behind, long])
        await until(pool, [behind], "parked")
        # Its turn does not come: a delivery of its entity runs.
        await redriven(pool)
        is_open = True
        await eventually(lambda: is_done(behind))
        assert len(await list_parked(pool, PairFilter(deliveries=(dead.envelope.id,)))) == 1
        go_on.set()
        await until(pool, [dead, head, behind, long], "handled")


async def test_no_more_than_a_thousand_are_put_in_front_of_what_fails_while_no_worker_runs_them(settings, pool):
    await pool.execute(
        "INSERT INTO dead (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, "
        "entity, type, attempts, errors, calls, died_at) SELECT 'demo', 't', 'd-' || n, 'live', 'h', 0, 'g', 'topic', "
        "0, n, 'e', 'NoteCreate', 1, '[]', '[]', now() FROM generate_series(1, 1500) AS n"
    )
    await pool.execute(
        "INSERT INTO held SELECT app, tenant, delivery, run, topic, partition, record_offset, '', '', now() FROM dead"
    )

    async def move():
        return [batch async for batch in redrive(pool, choose_dead(pool, await count_dead(pool)), standstill_s=0)]

    with pytest.raises(NotTaken, match="1000 redriven pairs wait"):
        await move()

    assert (await count_dead(pool)).pairs == 500


async def test_the_canary_goes_well_and_the_rest_follows(settings, pool):
    records, switch = await killed(settings, pool, 6)
    switch.broken.clear()
    async with working(settings, handler(switch.switch)):
        code, output, errors = await levelgate(
            settings, "dead", "redrive", "--handler", "switch", "--first", "2", "--yes", "--json"
        )
        await until(pool, records, "handled")

    assert code == 0, errors
    assert orjson.loads(output) == {
        "chosen": 6,
        "redriven": 6,
        "first": {"done": 2, "dead": 0, "waiting": 0, "cancelled": 0},
    }


async def test_the_canary_fails_and_the_rest_stays_dead(settings, pool):
    records, switch = await killed(settings, pool, 6)
    switch.broken.discard(records[0].envelope.id)
    switch.runs.clear()
    async with working(settings, handler(switch.switch)):
        code, output, errors = await levelgate(
            settings, "dead", "redrive", "--handler", "switch", "--first", "3", "--yes", "--json"
        )

    assert code == 1
    told = orjson.loads(output)
    assert (told["chosen"], told["redriven"]) == (6, 3)
    assert told["first"]["dead"] >= 2
    assert "the rest, 3, stays dead" in errors
    assert len(switch.runs) == 3


async def test_a_canary_that_no_worker_runs_has_not_gone_well(settings, pool):
    await killed(settings, pool, 2)
    dead = choose_dead(pool, await count_dead(pool))
    moved = [pair async for batch in redrive(pool, dead, most=1) for pair in batch]

    assert await ended(pool, moved, within_s=0) == Outcomes(waiting=1)
    assert not Outcomes(waiting=1).is_good
    assert len(await list_dead(pool)) == 1


async def test_one_that_is_dropped_with_its_cancelled_replay_has_not_gone_well(settings, pool, caplog):
    async def fail(_event, ctx):
        raise RuntimeError("it has to wait") if died else Permanent("not this time")

    caplog.set_level("INFO", "processors.replays.cancelled")
    died: list[object] = []
    await publish(settings.kafka, [delivery(settings.kafka, replay_id="replay-1")])
    async with working(settings, handler(fail)):
        died += await eventually(lambda: list_dead(pool))
        await pool.execute(
            "INSERT INTO replay (id, state, selection, cursor, rate, total, ended_at) "
            "VALUES ('replay-1', 'cancelled', '{}', '{}', 1, 1, now())"
        )
        await eventually(lambda: "replay_cancelled" in caplog.text)  # the worker knows of it
        outcomes = await ended(pool, await redriven(pool), within_s=15)

    assert (outcomes, outcomes.is_good) == (Outcomes(cancelled=1), False)
