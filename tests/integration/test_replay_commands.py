"""`levelgate replay …`, as processes: planned, killed in the middle, resumed, paused, cancelled, shown."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from levelgate import Permanent
from processors.dead_letters import list_dead
from processors.replays import table
from processors.replays.cursor import Cursor
from processors.replays.selection import Selection
from schemas.topics import Topics
from tests.support import recording_handlers
from tests.support.commands import levelgate, started
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.kafka_records import published
from tests.support.workers import handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")

NOW = datetime.now(UTC)


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}")


async def replay(settings, *arguments, **changes):
    return await levelgate(settings, "replay", *arguments, **changes)


async def only(pool):
    """The one replay there is, None before it is there."""
    replays = await table.list_replays(pool, most=2)
    assert len(replays) < 2
    return replays[0] if replays else None


async def partly_published(pool, more_than=0):
    return await eventually(
        lambda: only(pool), lambda seen: seen and more_than < seen.published < seen.total, within_s=30
    )


async def test_a_killed_replay_of_one_type_tenant_and_hour_is_resumed_and_each_event_runs_once(settings, pool):
    runs: list[tuple[str | None, str]] = []

    async def greet(_event, ctx):
        runs.append((ctx.delivery.replay_id, ctx.delivery.id))

    def some(count, *, hours_ago=2, **changes):
        received_at = NOW - timedelta(hours=hours_ago)
        return [
            delivery(settings.kafka, entity=f"contact-{n}", received_at=received_at, **changes) for n in range(count)
        ]

    wanted = some(200)
    others = [*some(5, type="ContactUpdate"), *some(5, tenant="location-2"), *some(5, hours_ago=4)]
    await publish(settings.kafka, [*wanted[:100], *others, *wanted[100:]])
    async with working(settings, handler(greet, "ContactCreate", "ContactUpdate")):
        live = "SELECT count(*) FROM handled WHERE run = 'live'"
        await eventually(lambda: pool.fetchval(live), lambda count: count == 215, within_s=30)
        before = await pool.fetch("SELECT * FROM handled WHERE run = 'live'")
        hour = ("--since", (NOW - timedelta(hours=3)).isoformat(), "--until", (NOW - timedelta(minutes=45)).isoformat())
        chosen = (*hour, "--type", "ContactCreate", "--tenant", "location-1")
        async with started(settings, "replay", "start", *chosen, "--rate", "40", "--yes") as publisher:
            half = await partly_published(pool, more_than=20)
            publisher.send_signal(signal.SIGKILL)
            await publisher.communicate()

        code, _, errors = await replay(settings, "resume", half.id)
        assert (code, "another process" in errors) == (1, True)
        await pool.execute("UPDATE replay SET lease_until = now()")  # what 15 seconds do
        code, output, _ = await replay(settings, "status", half.id, "--json")
        assert orjson.loads(output)["state"] == "interrupted"
        code, output, errors = await replay(settings, "resume", half.id, "--rate", "10000", "--json")
        assert code == 0, errors
        told = orjson.loads(output)

        async def handled():
            return (await table.outcomes(pool, [half.id]))[half.id].done

        await eventually(handled, lambda done: done == 200, within_s=30)
        topic = Topics(settings.kafka).replay
        copies = [each.id for each in await published(settings.kafka) if each.topic == topic]

    ids = [each.envelope.id for each in wanted]
    assert sorted(d for run, d in runs if run == half.id) == sorted(ids)
    assert {run for run, _ in runs} == {None, half.id}
    assert set(copies) == set(ids)
    # What the killed one had published and not saved went out again, and did not run again.
    assert len(copies) >= 200
    assert (told["state"], told["published"], told["total"]) == ("finished", 200, 200)
    assert await pool.fetch("SELECT * FROM handled WHERE run = 'live'") == before


async def test_pause_resume_cancel_and_status_from_another_terminal(settings, pool):
    await publish(settings.kafka, [delivery(settings.kafka) for _ in range(300)])
    async with started(settings, "replay", "start", "--all", "--rate", "10", "--yes") as publisher:
        running = await partly_published(pool)
        code, output, _ = await replay(settings, "pause", running.id)
        assert (code, "is paused" in output) == (0, True)
        output, _ = await asyncio.wait_for(publisher.communicate(), 15)
        assert publisher.returncode == 0
        assert f"levelgate replay resume {running.id}" in output.decode()
    paused = await only(pool)
    assert paused.shown == "paused"

    async with started(settings, "replay", "resume", running.id) as publisher:
        await partly_published(pool, more_than=paused.published)
        publisher.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(publisher.communicate(), 15)
        assert publisher.returncode == 130
        assert f"levelgate replay resume {running.id}" in errors.decode()
    interrupted = await only(pool)
    assert interrupted.shown == "interrupted"  # at once: it gave its lease up

    async with started(settings, "replay", "resume", running.id, "--json") as publisher:
        await partly_published(pool, more_than=interrupted.published)
        code, output, _ = await replay(settings, "cancel", running.id, answer=b"y\n")
        assert (code, "is cancelled" in output) == (0, True)
        output, _ = await asyncio.wait_for(publisher.communicate(), 15)
        assert (publisher.returncode, orjson.loads(output)["state"]) == (0, "cancelled")
    code, _, errors = await replay(settings, "resume", running.id)
    assert (code, "cancelled can't be resumed" in errors) == (1, True)
    code, output, _ = await replay(settings, "status")
    assert f"{running.id}" in output
    assert "cancelled" in output


async def test_status_says_who_is_parked_and_what_is_waited_for_and_counts_no_old_replay(settings, pool):
    for replay_id in ("r-old", "r-new"):
        await table.create(
            pool,
            replay_id=replay_id,
            publisher="another",
            selection=Selection(),
            cursor=Cursor(),
            rate=100.0,
            total=20,
        )
        rows = [("d-1", "disconnected"), ("d-2", "behind"), ("d-3", "behind")]
        await pool.executemany(
            "INSERT INTO parked VALUES ('demo', 'location-1', $1, $2, 'greet', 0, 'workers', 't', 0, 0, 'c',"
            " 'ContactCreate', $3, 0, now(), '[]', '[]', now())",
            [(delivery_id, replay_id, reason) for delivery_id, reason in rows],
        )
    await pool.execute("UPDATE replay SET waits_for = 'the workers' WHERE id = 'r-new'")
    await pool.execute("UPDATE replay SET state = 'finished', ended_at = now() - interval '2 days' WHERE id = 'r-old'")

    _, output, errors = await replay(settings, "status", "r-new")
    assert "parked of location-1 (1 disconnected, 2 behind)\nwaits for the workers\n" in output, errors
    _, output, _ = await replay(settings, "status", "r-new", "--json")
    shown = orjson.loads(output)
    reasons = {"disconnected": 1, "behind": 2}
    assert shown["parked"] == [{"app": "demo", "tenant": "location-1", "pairs": 3, "reasons": reasons}]
    assert (shown["waits_for"], shown["pairs"]["parked"]) == ("the workers", 3)
    _, output, _ = await replay(settings, "status", "--json")
    assert {each["id"]: "pairs" in each for each in orjson.loads(output)} == {"r-new": True, "r-old": False}
    assert (await replay(settings, "status"))[0] == 0


async def test_a_plan_counts_by_type_and_tenant_and_estimates_calls_and_time(settings, pool):
    records = [delivery(settings.kafka, tenant=f"location-{n % 3 // 2}") for n in range(30)]
    records += [delivery(settings.kafka, type="NoteCreate") for _ in range(2)]
    await publish(settings.kafka, records)
    row = "'demo', 't', 'd', 'live', 'recording', 0, 1, '[{}, {}, {}]'"
    await pool.execute(
        f"INSERT INTO handled (at, app, tenant, delivery, run, handler, element, attempts, calls) VALUES (now(), {row})"
    )

    code, output, errors = await replay(settings, "plan", "--since", "1h", "--rate", "2", "--json")
    assert code == 0, errors
    plan = orjson.loads(output)
    assert plan["total"] == 32
    assert plan["by_type"] == {"ContactCreate": 30, "NoteCreate": 2}
    first = {"app": "demo", "tenant": "location-0", "deliveries": 20, "api_calls": 60, "duration_s": 20.5}
    assert plan["by_tenant"][0] == first
    assert (plan["api_calls"], plan["without_handler"]) == (90, 2)
    known = {"is_measured": True, "is_at_least": False}
    assert plan["handlers"] == [{"handler": "recording", "pairs": 30, "calls": 3.0, **known}]
    # 60 calls, 25 at once and again every 10 seconds, take longer than 32 events at 2 a second.
    assert (plan["duration_s"], plan["bound_by"]) == (20.5, "budget")

    code, output, _ = await replay(settings, "plan", "--handler", "recording")
    assert (code, "about 90 API calls and 20 s" in output) == (0, True), output
    assert "NoteCreate" not in output
    code, output, errors = await replay(settings, "start", "--type", "ContactCreate", answer=b"n\n")
    assert (code, "Run these 30 again?" in errors) == (1, True)
    # What a program reads is one thing; what a person must know before it begins is told beside it.
    code, output, errors = await replay(settings, "start", "--type", "ContactCreate", "--json", answer=b"n\n")
    assert (code, output, "about 90 API calls" in errors) == (1, "", True)
    code, output, _ = await replay(settings, "start", "--delivery", "no-such", "--yes")
    assert (code, output) == (0, "no event fits\nnothing was started\n")
    assert await only(pool) is None
    for wrong in (
        ["start", "--yes"],
        ["plan", "--all", "--not-tenant", "X"],
        ["plan", "--offsets", "contact:3"],
        ["plan", "--offsets", "contact:99:0-5"],
        ["plan", "--since", "2h", "--until", "3h"],
        ["start", "--since", "9998-01-01", "--yes"],
        ["start", "--until", "9999-12-31T23:30Z", "--dry-run"],
    ):
        code, _, errors = await replay(settings, *wrong)
        assert (code, errors.splitlines()[-1].startswith("Error: ")) == (2, True), errors
    code, output, errors = await replay(settings, "plan", "--type", "ContactCraete")
    assert (code, output, "did you mean ContactCreate" in errors) == (0, "no event fits\n", True)
    code, _, errors = await replay(settings, "plan", "--handler", "nobody")
    assert (code, "levelgate handlers" in errors) == (1, True)


async def test_a_dry_run_and_a_comparison_by_command_leave_nothing_behind(settings, pool):
    await pool.execute(recording_handlers.TABLE)
    wanted = [delivery(settings.kafka, tenant="location-1", entity=f"contact-{n}") for n in range(5)]
    other = delivery(settings.kafka, tenant="location-2")
    await publish(settings.kafka, [*wanted, other])

    code, output, errors = await replay(settings, "start", "--tenant", "location-1", "--dry-run", "--json")
    *pairs, last = map(orjson.loads, output.splitlines())
    assert (code, last["summary"]["events"]) == (0, 5), errors
    assert [(p["delivery"], p["handler"]) for p in pairs] == [(r.envelope.id, "recording") for r in wanted]

    module = recording_handlers.__name__
    code, output, errors = await replay(settings, "start", "--all", "--limit", "3", "--handlers", module, "--compare")
    assert (code, "3 equal, 0 different" in output) == (0, True), errors

    assert await pool.fetchval("SELECT count(*) FROM runs") == 0
    assert await only(pool) is None
    assert [r for r in await published(settings.kafka) if r.topic == Topics(settings.kafka).replay] == []


async def test_a_new_version_is_rehearsed_on_what_died_of_the_old_one(settings, pool, tmp_path):
    text = """
from levelgate import on

@on("ContactCreate")
async def greet(event, ctx): ...

@on("ContactCreate")
async def farewell(event, ctx): ...
"""
    (tmp_path / "my_app").mkdir()
    for version in ("handlers", "new_handlers"):
        (tmp_path / "my_app" / f"{version}.py").write_text(text)

    async def failing(_event, _ctx):
        raise Permanent("not yet")

    await publish(settings.kafka, [delivery(settings.kafka)])
    names = ("farewell", "greet")
    async with working(settings, *(handler(failing, name=f"my_app.handlers.{name}") for name in names)):
        await eventually(lambda: list_dead(pool), lambda rows: len(rows) == 2)
    new = ("start", "--from", "dead", "--handlers", "my_app.new_handlers")

    code, output, errors = await replay(settings, *new, "--all", "--dry-run", "--json", handlers="my_app.handlers")
    *pairs, _ = map(orjson.loads, output.splitlines())
    assert [(p["handler"], p["outcome"]) for p in pairs] == [(f"my_app.new_handlers.{name}", "done") for name in names]
    assert code == 0, errors

    chosen = ("--handler", "my_app.handlers.greet")
    code, output, errors = await replay(settings, *new, *chosen, "--compare", handlers="my_app.handlers")
    assert (code, "1 events: 1 equal, 0 different" in output) == (0, True), errors
    assert "all that was compared is how their runs end" in output
