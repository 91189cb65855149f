"""Dead letters, run again or discarded: on a real Kafka and Postgres, by a worker of this process."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from levelgate import Permanent
from levelgate.broker import client_options
from processors.dead_letters import choose_dead, count_dead, list_dead, show_dead
from processors.deliveries import trace
from processors.filters import ALL_PAIRS, PairFilter
from processors.parking import list_parked
from processors.redrive import Discarded, NotTaken, Outcomes, discard, ended, redrive
from schemas.topics import Topics
from tests.support.commands import levelgate
from tests.support.dead_letters import chosen, discarded, redriven
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", max_attempts=2)


class Switch:
    """A handler that fails while it is broken, and notes each run."""

    def __init__(self, *broken):
        self.broken = set(broken)
        self.runs: list[str] = []
        self.attempts: list[int] = []

    async def switch(self, _event, ctx):
        self.runs.append(ctx.delivery.id)
        self.attempts.append(ctx.delivery.attempt)
        if ctx.delivery.id in self.broken:
            raise Permanent(f"broken for {ctx.delivery.id}")


async def killed(settings, pool, count, **changes):
    """As many deliveries, each of an entity of its own, that are dead by now; and what killed them."""
    records = [delivery(settings.kafka, entity=f"contact-{n}", **changes) for n in range(count)]
    switch = Switch(*(record.envelope.id for record in records))
    await publish(settings.kafka, records)
    async with working(settings, handler(switch.switch)):
        await until(pool, records, "dead")
    return records, switch


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


async def test_discarded_pairs_are_forgotten_with_the_days_of_the_ledger(settings, pool):
    await killed(settings, pool, 2)
    (old, _) = await chosen(pool)
    await discarded(pool, PairFilter(deliveries=(old.pair.delivery,)))
    await pool.execute("UPDATE dead SET discarded_at = now() - interval '40 days' WHERE discarded_at IS NOT NULL")
    async with working(settings):
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM dead"), lambda count: count == 1)


async def test_a_database_of_an_older_version_is_told_in_one_sentence(settings, pool):
    await pool.execute("ALTER TABLE dead DROP COLUMN discarded_at")
    code, _, errors = await levelgate(settings, "dead", "list")
    assert (code, errors.strip().count("\n")) == (1, 0)
    assert "levelgate migrate" in errors


async def test_a_record_without_an_envelope_is_never_given_to_a_worker_again(settings, pool):
    stranger = delivery(settings.kafka)
    stranger.headers[:] = [("ce_id", b"\xff")]
    await publish(settings.kafka, [stranger])
    async with working(settings):
        await eventually(lambda: list_dead(pool))

    counted = await count_dead(pool)
    assert (counted.pairs, counted.able) == (1, 0)
    assert await redriven(pool) == []
    code, output, errors = await levelgate(settings, "dead", "redrive", "--all", "--yes", "--json")
    assert (code, orjson.loads(output)) == (0, {"chosen": 0, "redriven": 0, "first": None})
    assert "1 can't run" in errors


@pytest.mark.parametrize(
    "change",
    [
        {"app": "demo"},
        {"type": "ContactCreate"},
        {"tenant": "location-1"},
        {"handler": "first"},
        {"error": "Permanent"},
        {"run": "replay-1"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_filters_choose_dead_and_parked_pairs(settings, pool, change):
    await _pairs_of_all_kinds(pool)
    fitting = PairFilter(**change)
    ((name, value),) = change.items()
    for listed in (await list_dead(pool, fitting), await list_parked(pool, fitting)):
        shown = [each["errors"][-1]["error"] if name == "error" else each[name] for each in listed]
        assert shown == [value] * 16
    assert len(await chosen(pool, fitting)) == (await count_dead(pool, fitting)).pairs == 16


async def test_times_and_ids_choose_dead_and_parked_pairs(settings, pool):
    now = await _pairs_of_all_kinds(pool)
    half = timedelta(minutes=30)
    for fitting, count in [
        (PairFilter(since=now - half), 8),
        (PairFilter(until=now - half), 24),
        (PairFilter(since=now - 5 * half, until=now - half), 16),
        (PairFilter(deliveries=("d-0", "d-1", "no-such")), 2),
        (PairFilter(app="demo", handler="first", error="Permanent"), 4),
        (ALL_PAIRS, 32),
    ]:
        assert len(await list_dead(pool, fitting)) == count
        assert len(await list_parked(pool, fitting)) == count
        assert len(await chosen(pool, fitting)) == (await count_dead(pool, fitting)).pairs == count


async def test_windows_of_any_size_have_each_pair_once_the_oldest_first(settings, pool):
    await _pairs_of_all_kinds(pool)  # eight at a time died at one instant
    at_once = await chosen(pool, PairFilter(handler="first"))
    assert [each.died_at for each in at_once] == sorted(each.died_at for each in at_once)
    for window in (1, 3, 8, 9, 31):
        assert await chosen(pool, PairFilter(handler="first"), window=window) == at_once


async def _pairs_of_all_kinds(pool):
    """32 dead and 32 parked pairs: each filter's value in half of them, their ages from none to three hours."""
    now = datetime.now(UTC)
    for n in range(32):
        row = (
            "demo" if n & 1 else "other",
            "location-1" if n & 2 else "location-2",
            f"d-{n}",
            "first" if n & 4 else "second",
            "ContactCreate" if n & 8 else "NoteCreate",
            orjson.dumps(
                [
                    {"at": now.isoformat(), "error": "First", "message": ""},
                    {"at": now.isoformat(), "error": "Permanent" if n & 16 else "KeyError", "message": ""},
                ]
            ).decode(),
            "replay-1" if n.bit_count() & 1 else "live",
            now - timedelta(hours=n % 4),
        )
        columns = "app, tenant, delivery, handler, type, errors, run"
        fixed = "element, group_id, topic, partition, record_offset, entity, attempts, calls"
        values = "$1, $2, $3, $4, $5, $6, $7, 0, 'g', 't', 0, 1, 'e', 1, '[]'"
        await pool.execute(f"INSERT INTO dead ({columns}, {fixed}, died_at) VALUES ({values}, $8)", *row)
        await pool.execute(
            f"INSERT INTO parked ({columns}, {fixed}, parked_at, reason, due_at) VALUES ({values}, $8, 'retry', now())",
            *row,
        )
    return now


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


async def test_an_id_that_is_not_dead_is_an_error_and_a_filter_that_nothing_fits_says_so(settings, pool):
    (record,), _ = await killed(settings, pool, 1)

    for arguments in (["redrive", "--yes"], ["redrive", "--dry-run"], ["discard", "--yes"]):
        code, output, errors = await levelgate(settings, "dead", *arguments, record.envelope.id, "mistyped")
        assert (code, output) == (1, "")
        assert "levelgate trace mistyped" in errors
        code, output, errors = await levelgate(settings, "dead", *arguments, "--handler", "mistyped")
        assert (code, output, errors) == (0, "nothing is dead that fits\n", "")
    for listing in (["dead", "list"], ["parked"]):
        code, output, _ = await levelgate(settings, *listing, "mistyped")
        assert (code, output) == (0, f"nothing is {'dead' if listing[0] == 'dead' else 'parked'} that fits\n")
    assert (await count_dead(pool)).pairs == 1


async def test_a_discarded_letter_of_a_replay_does_not_hide_the_live_ones_body(settings, pool):
    (record,), _ = await killed(settings, pool, 1)
    of_a_replay = '{"run": "replay-1", "discarded_at": "2026-11-24"}'
    await pool.execute("INSERT INTO dead SELECT (jsonb_populate_record(dead, $1)).* FROM dead", of_a_replay)

    code, output, _ = await levelgate(settings, "dead", "show", record.envelope.id, "--body")

    assert code == 0
    live, replayed = output.partition("body of app demo's delivery, replay replay-1")[::2]
    assert record.body.decode() in live
    assert "deleted" in replayed


async def test_a_trace_tells_what_became_of_the_delivery_in_replays_apart(settings, pool):
    async def greet(_event, ctx):
        if ctx.delivery.replay_id:
            raise Permanent("not again")

    record = delivery(settings.kafka)
    again = delivery(settings.kafka, id=record.envelope.id, replay_id="replay-1")
    await publish(settings.kafka, [record, again])
    async with working(settings, handler(greet)):
        await eventually(lambda: list_dead(pool))
        await until(pool, [record], "handled")

    (found,) = await trace(pool, record.envelope.id)
    assert [(each.name, each.run, each.state) for each in found.handlers] == [("greet", "live", "done")]
    assert [(each.name, each.run, each.state) for each in found.replays] == [("greet", "replay-1", "dead")]
    code, output, _ = await levelgate(settings, "trace", record.envelope.id)
    assert code == 0
    assert "replay-1" in output


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


async def test_the_commands_ask_count_and_show(settings, pool):
    (record, _), _ = await killed(settings, pool, 2)

    code, output, _ = await levelgate(settings, "dead", "redrive", "--error", "Permanent", "--dry-run", "--json")
    assert orjson.loads(output) == [
        {"run": "live", "handler": "switch", "type": "ContactCreate", "error": "Permanent", "pairs": 2}
    ]
    code, output, _ = await levelgate(settings, "dead", "list", "--since", "2h", record.envelope.id)
    assert record.envelope.id in output
    for verb in ("redrive", "discard"):
        code, output, errors = await levelgate(settings, "dead", verb, "--all", answer=b"n\n")
        assert code == 1
        assert "2" in output
        assert "[y/N]" in errors
        code, _, errors = await levelgate(settings, "dead", verb, "--yes")
        assert code == 2
        assert "--all" in errors
    assert len(await list_dead(pool)) == 2

    code, output, _ = await levelgate(settings, "dead", "show", record.envelope.id)
    assert code == 0
    assert f"broken for {record.envelope.id}" in output
    assert "ce_source" in output
    assert "webhookId" not in output
    code, output, _ = await levelgate(settings, "dead", "show", record.envelope.id, "--body", "--json")
    assert orjson.loads(output)[0]["body"].encode() == record.body
    code, output, _ = await levelgate(settings, "dead", "show", record.envelope.id, "--body")
    assert record.body.decode() in output

    code, output, _ = await levelgate(settings, "dead", "discard", record.envelope.id, answer=b"y\n")
    assert code == 0
    assert "1 dead letters discarded, and the bodies of 1 deliveries" in output
    code, output, _ = await levelgate(settings, "trace", record.envelope.id)
    assert "discarded" in output
    code, output, _ = await levelgate(settings, "parked", "--error", "Permanent", "--json")
    assert msgspec.json.decode(output) == []
