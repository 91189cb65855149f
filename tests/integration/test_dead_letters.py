"""Dead letters, as they are found, counted and shown: on a real Kafka and Postgres, by a worker of this process."""

from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import pytest

from levelgate import Permanent
from processors.dead_letters import count_dead, list_dead
from processors.deliveries import trace
from processors.filters import ALL_PAIRS, PairFilter
from processors.parking import list_parked
from tests.support.commands import levelgate
from tests.support.dead_letters import chosen, killed, redriven
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", max_attempts=2)


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
