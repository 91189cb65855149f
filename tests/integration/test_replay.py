"""Events of the past, run again: on a real Kafka and Postgres, published by this process, run by a worker of it."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from levelgate import Permanent
from levelgate.broker import client_options
from processors.dead_letters import list_dead
from processors.parking import list_parked
from processors.replays import table
from processors.replays.cursor import Cursor, Gap
from processors.replays.reading import frozen, selected
from processors.replays.selection import OffsetRange, Selection
from processors.replays.states import NotNow
from processors.replays.table import Busy, Outcomes, Overtaken
from processors.replays.topics import NoSuchPartition
from schemas.errors import InstallationMissing
from schemas.topics import Topics
from tests.support.dead_letters import redriven
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.kafka_records import published
from tests.support.replays import PUBLISHER, begun, publishing, replayed
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")

NOW = datetime.now(UTC)


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", max_attempts=2)


class Runs:
    """A handler that notes its runs by replay, and does with each what it is told."""

    def __init__(self, name="greet", *types, act=lambda _delivery: None):
        self.by_replay: dict[str | None, list[str]] = defaultdict(list)
        self.elements: list[tuple[str | None, int]] = []
        self.act = act

        async def run(_event, ctx):
            self.by_replay[ctx.delivery.replay_id].append(ctx.delivery.id)
            self.elements.append((ctx.delivery.replay_id, ctx.delivery.element))
            self.act(ctx.delivery)

        self.handler = handler(run, *types, name=name)


def ids(records):
    return [record.envelope.id for record in records]


async def ended(pool, run, count, within_s=30):
    """Wait until so many pairs of a replay are done."""

    async def outcomes():
        return (await table.outcomes(pool, [run]))[run]

    return await eventually(outcomes, lambda seen: seen.done + seen.dead == count, within_s=within_s)


async def live_rows(pool):
    return [await pool.fetch(f"SELECT * FROM {name} WHERE run = 'live'") for name in ("handled", "parked", "dead")]


async def test_a_replay_runs_again_what_was_done_and_the_next_one_does_so_too(settings, pool):
    runs = Runs()
    records = [delivery(settings.kafka, entity=f"contact-{n % 3}", tenant=f"location-{n % 2}") for n in range(24)]
    await publish(settings.kafka, records)
    async with working(settings, runs.handler):
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM handled"), lambda count: count == 24)
        before = await live_rows(pool)
        first = await replayed(settings, pool, Selection())
        await ended(pool, first, 24)
        second = await replayed(settings, pool, Selection())
        await ended(pool, second, 24)

    assert await live_rows(pool) == before
    assert set(runs.by_replay) == {None, first, second}
    for n in range(6):
        of_entity = [r.envelope.id for r in records[n::6]]
        for run in (first, second):
            assert [d for d in runs.by_replay[run] if d in of_entity] == of_entity
    assert len(runs.by_replay[first]) == len(runs.by_replay[second]) == 24


async def test_what_is_published_is_the_delivery_as_it_was_and_the_replays_id(settings, pool):
    record = delivery(settings.kafka, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await publish(settings.kafka, [record])

    run = await replayed(settings, pool, Selection(handlers=("greet",)))

    topic = Topics(settings.kafka).replay
    (copy,) = [each for each in await published(settings.kafka) if each.topic == topic]
    assert (copy.value, copy.key) == (record.body, b"location-1")
    added = {"ce_replayid": run.encode(), "ce_replayhandlers": b'["greet"]'}
    assert copy.headers == dict(record.headers) | added


async def test_only_the_time_types_tenants_entities_apps_and_ids_that_were_named_are_read(settings, pool):
    topics = Topics(settings.kafka)
    hour = {"received_at": NOW - timedelta(hours=2)}
    records = {
        "wanted": delivery(settings.kafka, **hour),
        "later": delivery(settings.kafka, received_at=NOW - timedelta(minutes=30)),
        "earlier": delivery(settings.kafka, received_at=NOW - timedelta(hours=4)),
        "type": delivery(settings.kafka, type="ContactUpdate", **hour),
        "family": delivery(settings.kafka, type="NoteCreate", **hour),
        "unknown": delivery(settings.kafka, type="BrandNewThing", **hour),
        "tenant": delivery(settings.kafka, tenant="location-2", **hour),
        "entity": delivery(settings.kafka, entity="contact-2", **hour),
        "app": delivery(settings.kafka, app="other", **hour),
        "quarantined": delivery(settings.kafka, reason="wrong_shape", **hour),
    }
    # Received before the catalogue knew its type.
    of_old = msgspec.structs.replace(delivery(settings.kafka, **hour), topic=topics.events("unknown"))
    records["of old"] = of_old
    stranger = delivery(settings.kafka)
    stranger.headers[:] = [("ce_id", b"\xff")]
    await publish(settings.kafka, [*records.values(), stranger])
    wanted = records["wanted"].envelope

    async def chosen(**fields):
        cursor, _ = await frozen(settings, pool, Selection(**fields))
        found = {r.envelope.id async for r in selected(settings, pool, Selection(**fields), cursor)}
        return {name for name, record in records.items() if record.envelope.id in found}, cursor

    everything = set(records) - {"quarantined"}
    names, cursor = await chosen(
        since=NOW - timedelta(hours=3),
        until=NOW - timedelta(minutes=45),  # what is published up to an hour later is read
        types=("ContactCreate",),
        tenants=("location-1",),
        entities=("contact-1",),
        apps=("demo",),
    )
    assert names == {"wanted", "of old"}
    assert len(cursor.ranges) == 2  # nothing but the tenant's partition of the type's family and of the unknown
    assert (await chosen())[0] == everything
    assert (await chosen(deliveries=(wanted.id,)))[0] == {"wanted"}
    names, cursor = await chosen(types=("BrandNewThing",))
    assert names == {"unknown"}
    assert {each.topic for each in cursor.ranges} == {topics.events("unknown")}
    assert len((await chosen(limit=3))[0]) == 3


async def test_a_publisher_that_is_cancelled_saves_and_is_resumed_where_it_was(settings, pool):
    records = [delivery(settings.kafka, entity=f"contact-{n}") for n in range(60)]
    await publish(settings.kafka, records)
    replay = await begun(settings, pool, Selection(), rate=20.0)
    told: list[int] = []
    task = asyncio.create_task(publishing(settings, pool, replay, told=lambda p: told.append(p.published)))
    await eventually(lambda: max(told, default=0) > 10)
    # It belongs to one publisher at a time.
    with pytest.raises(Busy):
        await table.take(pool, replay.id, "another")
    task.cancel()
    await asyncio.wait([task])

    left = await table.find(pool, replay.id)
    assert left.shown == "interrupted"
    assert 10 < left.published < 60
    resumed = await table.take(pool, replay.id, PUBLISHER, rate=10_000.0)
    assert await publishing(settings, pool, resumed) == "finished"

    topic = Topics(settings.kafka).replay
    copies = [each.id for each in await published(settings.kafka) if each.topic == topic]
    assert sorted(copies) == sorted(ids(records))
    assert (await table.find(pool, replay.id)).published == 60
    with pytest.raises(NotNow, match="finished"):
        await table.take(pool, replay.id, "another")


async def test_a_frozen_publisher_that_was_overtaken_saves_nothing(settings, pool):
    await publish(settings.kafka, [delivery(settings.kafka)])
    replay = await begun(settings, pool, Selection())
    await pool.execute("UPDATE replay SET lease_until = now()")
    await table.take(pool, replay.id, "another")

    with pytest.raises(Overtaken):
        await publishing(settings, pool, replay)

    assert (await table.find(pool, replay.id)).published == 0
    assert (await table.find(pool, replay.id)).has_publisher


async def test_events_after_the_beginning_of_a_replay_are_not_of_it(settings, pool):
    early, late = delivery(settings.kafka), delivery(settings.kafka)
    await publish(settings.kafka, [early])
    replay = await begun(settings, pool, Selection())
    await publish(settings.kafka, [late])
    await publishing(settings, pool, replay)

    topic = Topics(settings.kafka).replay
    assert [each.id for each in await published(settings.kafka) if each.topic == topic] == [early.envelope.id]


async def test_dead_letters_are_replayed_for_the_handler_that_gave_up_and_stay_as_they_are(settings, pool):
    def dies(delivery_):
        if delivery_.replay_id is None and delivery_.element == 1:
            raise Permanent("not this plan")

    plans = Runs("plans", "SaasPlanCreate", act=dies)
    second = Runs("second", "SaasPlanCreate", act=dies)
    sturdy = Runs("sturdy", "SaasPlanCreate")
    body = [{"type": "SaasPlanCreate", "companyId": "company-1", "planId": f"plan-{n}"} for n in (1, 2)]
    record = delivery(settings.kafka, type="SaasPlanCreate", entity="plan-1", tenant="company-1", body=body)
    await publish(settings.kafka, [record])
    async with working(settings, plans.handler, second.handler, sturdy.handler):
        await eventually(lambda: list_dead(pool), lambda rows: len(rows) == 2)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM handled"), lambda count: count == 4)
        before = [dict(row) | {"published_at": None} for row in await pool.fetch("SELECT * FROM dead")]
        run = await replayed(settings, pool, Selection(source="dead", handlers=("plans",)))
        assert await ended(pool, run, 1) == Outcomes(done=1)
        await eventually(lambda: committed(settings), lambda count: count == 2)

    assert [each for each in plans.elements if each[0]] == [(run, 1)]
    assert run not in second.by_replay
    assert run not in sturdy.by_replay
    assert [dict(row) | {"published_at": None} for row in await pool.fetch("SELECT * FROM dead")] == before


async def test_a_chosen_handler_runs_alone(settings, pool):
    one, other = Runs("one"), Runs("other")
    await publish(settings.kafka, [delivery(settings.kafka)])
    async with working(settings, one.handler, other.handler):
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM handled"), lambda count: count == 2)
        run = await replayed(settings, pool, Selection(handlers=("one",)))
        await ended(pool, run, 1)
        await eventually(lambda: committed(settings), lambda count: count == 2)

    assert len(one.by_replay[run]) == 1
    assert run not in other.by_replay


async def test_a_pause_is_seen_by_the_publisher_and_a_cancellation_too(settings, pool):
    await publish(settings.kafka, [delivery(settings.kafka) for _ in range(50)])
    replay = await begun(settings, pool, Selection(), rate=5.0)
    task = asyncio.create_task(publishing(settings, pool, replay))
    await eventually(lambda: table.find(pool, replay.id), lambda seen: seen.published > 0)
    await table.change(pool, replay.id, "pause")
    assert await task == "paused"
    paused = await table.find(pool, replay.id)
    assert (paused.shown, paused.has_publisher) == ("paused", False)

    resumed = await table.take(pool, replay.id, PUBLISHER)
    task = asyncio.create_task(publishing(settings, pool, resumed))
    await eventually(lambda: table.find(pool, replay.id), lambda seen: seen.published > paused.published)
    await table.change(pool, replay.id, "cancel")
    assert await task == "cancelled"
    with pytest.raises(NotNow, match="cancelled"):
        await table.take(pool, replay.id, PUBLISHER)


async def test_workers_skip_what_they_have_not_run_of_a_cancelled_replay(settings, pool):
    runs = Runs()
    records = [delivery(settings.kafka) for _ in range(4)]
    await publish(settings.kafka, records)
    run = await replayed(settings, pool, Selection())
    await table.change(pool, run, "cancel")
    async with working(settings, runs.handler) as worker:
        await eventually(lambda: committed(settings), lambda count: count == 8)
        labels = {"handler": "greet", "type": "ContactCreate", "outcome": "cancelled"}
        assert worker.collector.get_sample_value("levelgate_pairs_handled_total", labels) == 4

    assert runs.by_replay == {None: ids(records)}
    assert (await table.outcomes(pool, [run]))[run] == Outcomes()
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE run = $1", run) == 4


async def test_parked_pairs_of_a_cancelled_replay_go_one_behind_the_other(settings, pool):
    def act(delivery_):
        if delivery_.replay_id == cancelled:
            raise InstallationMissing("not installed")

    cancelled = None
    runs = Runs(act=act)
    records = [delivery(settings.kafka) for _ in range(4)]
    await publish(settings.kafka, records)
    async with working(settings, runs.handler):
        replay = await begun(settings, pool, Selection())
        cancelled = replay.id
        await publishing(settings, pool, replay)
        await eventually(lambda: list_parked(pool), lambda rows: len(rows) == 4)
        await table.change(pool, cancelled, "cancel")
        await eventually(lambda: list_parked(pool), lambda rows: not rows, within_s=15)
        # Lines of the entity are empty again: the same events run in another replay.
        again = await replayed(settings, pool, Selection())
        await ended(pool, again, 4)

    assert runs.by_replay[again] == ids(records)
    assert (await table.outcomes(pool, [cancelled]))[cancelled] == Outcomes()
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_a_dead_letter_of_a_cancelled_replay_runs_when_somebody_redrives_it(settings, pool, caplog):
    def act(delivery_):
        if delivery_.replay_id and len(runs.by_replay[delivery_.replay_id]) == 1:
            raise Permanent("not this time")

    caplog.set_level("INFO", "processors.replays.cancelled")
    runs = Runs(act=act)
    await publish(settings.kafka, [delivery(settings.kafka)])
    async with working(settings, runs.handler):
        run = await replayed(settings, pool, Selection())
        await ended(pool, run, 1)
        await table.change(pool, run, "cancel")
        await eventually(lambda: "replay_cancelled" in caplog.text)  # the worker knows of it
        assert await redriven(pool)
        await eventually(lambda: table.outcomes(pool, [run]), lambda seen: seen[run] == Outcomes(done=1))

    assert len(runs.by_replay[run]) == 2


async def test_offsets_choose_and_what_retention_took_is_told(settings, pool):
    records = [delivery(settings.kafka) for _ in range(10)]
    await publish(settings.kafka, records)
    topic = Topics(settings.kafka).events("contact")
    (place,) = {(r.topic, r.partition) for r in await published(settings.kafka)}
    some = Selection(offsets=(OffsetRange("contact", place[1], 3, 6),))
    cursor, gaps = await frozen(settings, pool, some)
    assert [r.envelope.id async for r in selected(settings, pool, some, cursor)] == ids(records)[3:7]
    assert gaps == []
    twice = Selection(offsets=(*some.offsets, OffsetRange("contact", place[1], 5, 8)))
    cursor, _ = await frozen(settings, pool, twice)
    assert [r.envelope.id async for r in selected(settings, pool, twice, cursor)] == ids(records)[3:9]
    with pytest.raises(NoSuchPartition, match="has 3 partitions"):
        await frozen(settings, pool, Selection(offsets=(OffsetRange("contact", 3, 0),)))

    async def lose(before):
        admin = AIOKafkaAdminClient(**client_options(settings.kafka))
        await admin.start()
        await admin.delete_records({TopicPartition(topic, place[1]): RecordsToDelete(before_offset=before)})
        await admin.close()

    replay = await begun(settings, pool, Selection())
    await lose(5)

    # After the plan, before it was read: counted. Before the plan: told.
    await publishing(settings, pool, replay)
    kept = await table.find(pool, replay.id)
    assert (kept.published, kept.lost, kept.total) == (5, 5, 10)
    assert kept.cursor == Cursor()
    for selection in (some, twice, Selection(since=NOW - timedelta(days=1))):
        (gap,) = (await frozen(settings, pool, selection))[1]
        assert (gap.topic, gap.partition, gap.first_offset) == (*place, 5)

    # Of what is empty nobody can tell when it was read last, but that nothing of a week can have gone.
    await lose(10)
    assert (await frozen(settings, pool, Selection(since=NOW - timedelta(days=6))))[1] == []
    assert (await frozen(settings, pool, Selection(since=NOW - timedelta(days=8))))[1] == [Gap(*place, None, 10)]


async def test_a_replay_whose_runs_do_not_end_holds_up_nothing_that_is_live(settings, pool):
    gate = asyncio.Event()

    async def stuck(_event, ctx):
        if ctx.delivery.replay_id:
            await gate.wait()

    async def handled_live(count):
        query = "SELECT count(*) FROM handled WHERE run = 'live'"
        await eventually(lambda: pool.fetchval(query), lambda done: done == count, within_s=30)

    # The replay has more events than may be read and unfinished of a partition number, and than there are places.
    settings = quick(settings, concurrency=8, partition_quota=20)
    old, new = ([delivery(settings.kafka, entity=f"contact-{n}") for n in range(100)] for _ in range(2))
    await publish(settings.kafka, old)
    async with working(settings, handler(stuck)):
        await handled_live(100)
        replay_id = await replayed(settings, pool, Selection(tenants=("location-1",)))
        await publish(settings.kafka, new)
        await handled_live(200)
        assert await pool.fetchval("SELECT count(*) FROM handled WHERE run = $1", replay_id) == 0
        gate.set()
        await ended(pool, replay_id, 100)
