"""What becomes of deliveries: on a real Kafka and a real Postgres, by a worker of this process."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from levelgate import Permanent
from levelgate.broker import client_options
from processors.dead_letters import list_dead
from processors.deliveries import trace
from processors.parking import list_parked
from schemas.errors import InstallationMissing
from schemas.ids import AppName
from schemas.topics import Topics
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    group = f"workers-of-{settings.kafka.topic_prefix}"
    return quick(settings, group=group)


async def test_a_delivery_is_handled_recorded_and_committed(settings, pool):
    seen = []

    async def greet(event, ctx):
        seen.append((event.id, ctx.delivery.tenant, ctx.delivery.attempt, len(ctx.idempotency_key)))

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(greet)):
        await until(pool, [record], "handled")
        await eventually(lambda: committed(settings), lambda count: count == 1)

    assert seen == [("contact-1", "location-1", 1, 32)]


async def test_events_of_an_entity_run_in_order_and_others_beside_them(settings, pool):
    order, running, together = [], set(), set()

    async def note(event, ctx):
        running.add(event.id)
        together.update({(a, b) for a in running for b in running if a < b})
        await asyncio.sleep(0)
        order.append((event.id, ctx.delivery.id))
        running.discard(event.id)

    records = [delivery(settings.kafka, entity=f"contact-{n % 5}") for n in range(200)]
    await publish(settings.kafka, records)
    async with working(settings, handler(note)):
        await until(pool, records, "handled")

    for entity in range(5):
        expected = [r.envelope.id for r in records if r.entity == f"contact-{entity}"]
        assert [d for e, d in order if e == f"contact-{entity}"] == expected
    assert together


async def test_a_delivery_that_comes_twice_runs_once(settings, pool):
    runs = []

    async def note(event, ctx):
        runs.append(ctx.delivery.id)

    record = delivery(settings.kafka)
    last = delivery(settings.kafka)
    await publish(settings.kafka, [record, record, last])
    async with working(settings, handler(note)):
        await until(pool, [last], "handled")
        await publish(settings.kafka, [record])
        await eventually(lambda: committed(settings), lambda count: count == 4)

    assert runs == [record.envelope.id, last.envelope.id]


async def test_a_worker_that_starts_anew_runs_nothing_that_is_recorded(settings, pool):
    runs = []

    async def note(event, ctx):
        runs.append(ctx.delivery.id)

    records = [delivery(settings.kafka, entity=f"contact-{n}") for n in range(50)]
    await publish(settings.kafka, records)
    # A group of its own makes the second worker read all of it again.
    async with working(quick(settings, group=f"{settings.worker.group}-a"), handler(note)):
        await until(pool, records, "handled")
    async with working(quick(settings, group=f"{settings.worker.group}-b"), handler(note)):
        await eventually(
            lambda: committed(quick(settings, group=f"{settings.worker.group}-b")), lambda count: count == 50
        )

    assert sorted(runs) == sorted(r.envelope.id for r in records)


async def test_handlers_of_one_delivery_succeed_and_fail_alone(settings, pool):
    async def works(event, ctx):
        pass

    async def fails(event, ctx):
        raise Permanent("it can't be")

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(works), handler(fails)):
        await until(pool, [record], "dead")

    (found,) = await trace(pool, record.envelope.id)
    assert [(h.name, h.state, h.attempts) for h in found.handlers] == [("fails", "dead", 1), ("works", "done", 1)]
    assert found.handlers[0].last_error == "Permanent: it can't be"


async def test_later_events_of_an_entity_wait_behind_a_parked_one(settings, pool):
    order: list[str] = []
    failures = 2

    async def fragile(event, ctx):
        nonlocal failures
        if ctx.delivery.id == first.envelope.id and failures:
            failures -= 1
            raise RuntimeError("not yet")
        order.append(ctx.delivery.id)

    async def sturdy(event, ctx):
        pass

    first = delivery(settings.kafka)
    later = [delivery(settings.kafka) for _ in range(3)]
    other = delivery(settings.kafka, entity="contact-2")
    await publish(settings.kafka, [first, *later, other])
    async with working(settings, handler(fragile), handler(sturdy)):
        await until(pool, [first, *later, other], "handled")

    of_entity = [d for d in order if d != other.envelope.id]
    assert of_entity == [first.envelope.id, *(r.envelope.id for r in later)]
    (found,) = await trace(pool, first.envelope.id)
    assert [(h.name, h.attempts) for h in found.handlers] == [("fragile", 3), ("sturdy", 1)]
    assert await list_parked(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_a_pair_that_keeps_failing_is_dead_after_its_last_attempt_and_published(settings, pool):
    runs = []

    async def broken(event, ctx):
        runs.append(ctx.delivery.attempt)
        raise ValueError("always")

    settings = quick(settings, max_attempts=3)
    record = delivery(settings.kafka)
    after = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with (
        AIOKafkaConsumer(
            Topics(settings.kafka).dead, **client_options(settings.kafka), auto_offset_reset="earliest"
        ) as outside,
        working(settings, handler(broken)),
    ):
        await until(pool, [record], "dead")
        letter = await asyncio.wait_for(outside.getone(), 15)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM dead WHERE published_at IS NOT NULL"))
        # The line is free again for what comes later.
        await publish(settings.kafka, [after])
        await until(pool, [after], "dead")

    assert runs[:3] == [1, 2, 3]
    assert letter.value == record.body
    assert dict(letter.headers)["levelgate_handler"] == b"broken"
    (dead, _) = sorted(await list_dead(pool), key=lambda row: row["died_at"])
    assert (dead["attempts"], [e["error"] for e in dead["errors"]]) == (3, ["ValueError"] * 3)


async def test_two_apps_of_one_tenant_share_an_id_and_an_entity_and_nothing_else(settings, pool):
    entered, go_on = asyncio.Event(), asyncio.Event()
    failing = True
    runs: list[tuple[str, str]] = []

    async def greet(event, ctx):
        if ctx.delivery.app == "demo" and failing:
            entered.set()
            await go_on.wait()
            raise InstallationMissing("not installed yet")
        runs.append((ctx.delivery.app, ctx.delivery.id))

    settings = settings.model_copy(update={"apps": settings.apps | {AppName("other"): settings.apps[AppName("demo")]}})
    # The same ids, tenant and entity, and so the same partition.
    ids = [f"delivery-of-both-{n}" for n in range(3)]
    of = {app: [delivery(settings.kafka, app=app, id=id_) for id_ in ids] for app in ("demo", "other")}

    async def until_all(app, *wanted):
        async def seen():
            return [each.state for id_ in ids for each in await trace(pool, id_, app=app)]

        await eventually(seen, lambda now: now == list(wanted), within_s=30)

    first_two = zip(of["demo"][:2], of["other"], strict=False)
    await publish(settings.kafka, [record for both in first_two for record in both])
    async with working(settings, handler(greet)):
        await asyncio.wait_for(entered.wait(), 30)
        await until_all("other", "handled", "handled")
        go_on.set()
        await until_all("demo", "parked", "parked")
        await publish(settings.kafka, of["other"][2:])
        await until_all("other", "handled", "handled", "handled")
        await publish(settings.kafka, of["demo"][2:])
        await until_all("demo", "parked", "parked", "parked")
        failing = False
        await until_all("demo", "handled", "handled", "handled")
        await eventually(lambda: committed(settings), lambda count: count == 6)

    assert runs == [(app, id_) for app in ("other", "demo") for id_ in ids]
    assert await pool.fetchval("SELECT count(*) FROM handled") == 6
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_waiting_for_an_installation_uses_up_no_attempt(settings, pool):
    runs = 0

    async def patient(event, ctx):
        nonlocal runs
        runs += 1
        if runs < 6:
            raise InstallationMissing("not installed yet")

    settings = quick(settings, max_attempts=2)
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(patient)):
        await until(pool, [record], "handled")

    (found,) = await trace(pool, record.envelope.id)
    assert found.handlers[0].attempts == 1


async def test_parked_pairs_outlive_the_worker(settings, pool):
    is_ready = False
    runs = []

    async def patient(event, ctx):
        if not is_ready:
            raise InstallationMissing("not installed yet")
        runs.append(ctx.delivery.id)

    records = [delivery(settings.kafka) for _ in range(3)]
    await publish(settings.kafka, records)
    async with working(settings, handler(patient)):
        await until(pool, records, "parked")
    is_ready = True
    async with working(settings, handler(patient)):
        await until(pool, records, "handled")

    assert runs == [r.envelope.id for r in records]


async def test_quarantined_and_unknown_deliveries_are_indexed_and_committed(settings, pool):
    quarantined = delivery(settings.kafka, reason="wrong_shape")
    unknown = delivery(settings.kafka, type="BrandNewThing")
    await publish(settings.kafka, [quarantined, unknown])
    async with working(settings):
        await until(pool, [quarantined], "quarantined")
        await until(pool, [unknown], "handled")
        await eventually(lambda: committed(settings), lambda count: count == 2)


async def test_a_type_that_the_catalogue_does_not_know_reaches_a_handler_that_asks_for_it(settings, pool):
    seen = []

    async def curious(event, ctx):
        seen.append(event.raw["id"])

    record = delivery(settings.kafka, type="BrandNewThing")
    await publish(settings.kafka, [record])
    async with working(settings, handler(curious, "BrandNewThing")):
        await until(pool, [record], "handled")

    assert seen == ["contact-1"]


async def test_each_element_of_a_list_body_runs_by_itself(settings, pool):
    seen = []

    async def plan(event, ctx):
        seen.append((event.plan_id, ctx.delivery.element))
        if event.plan_id == "plan-2":
            raise Permanent("no such plan")

    body = [{"type": "SaasPlanCreate", "companyId": "company-1", "planId": f"plan-{n}"} for n in (1, 2)]
    record = delivery(settings.kafka, type="SaasPlanCreate", entity="plan-1", tenant="company-1", body=body)
    await publish(settings.kafka, [record])
    async with working(settings, handler(plan, "SaasPlanCreate")):
        await until(pool, [record], "dead")

    assert sorted(seen) == [("plan-1", 0), ("plan-2", 1)]
    (found,) = await trace(pool, record.envelope.id)
    assert [(h.element, h.state) for h in found.handlers] == [(0, "done"), (1, "dead")]


async def test_a_record_without_a_usable_envelope_becomes_a_dead_letter_and_holds_up_nobody(settings, pool):
    last = delivery(settings.kafka)

    def stranger(**headers):
        changed = dict(last.headers) | headers
        return msgspec.structs.replace(last, headers=list(changed.items()))

    strangers = [
        stranger(ce_id=b"\xff"),
        stranger(ce_source=b"/apps/demo/tenants/%00"),
        stranger(ce_subject=random.randbytes(3000).hex().encode()),
        stranger(ce_type=None),
    ]
    await publish(settings.kafka, [*strangers, stranger(x_none=None)])

    async def note(event, ctx):
        raise Permanent("its headers are kept")

    async with working(settings, handler(note)):
        await until(pool, [last], "dead")
        dead = await eventually(lambda: list_dead(pool), lambda rows: len(rows) == len(strangers) + 1)
        await eventually(
            lambda: pool.fetchval("SELECT count(*) FROM dead WHERE published_at IS NULL"), lambda n: n == 0
        )

    buried = [each for each in dead if each["handler"] == "levelgate.envelope"]
    assert len(buried) == len(strangers)
    assert {each["errors"][0]["error"] for each in buried} == {"BrokenEnvelope"}


async def test_what_is_cancelled_at_the_end_of_the_grace_time_is_not_committed_and_runs_again(settings, pool):
    started = asyncio.Event()
    runs = []

    async def slow(event, ctx):
        runs.append(ctx.delivery.id)
        started.set()
        if len(runs) == 1:
            await asyncio.Event().wait()

    settings = quick(settings, grace_s=0.2)
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(slow)):
        await asyncio.wait_for(started.wait(), 15)
    assert await committed(settings) == 0
    async with working(settings, handler(slow)):
        await until(pool, [record], "handled")

    assert runs == [record.envelope.id] * 2


async def test_a_handler_whose_own_cancellation_escapes_has_failed(settings, pool):
    async def careless(event, ctx):
        raise asyncio.CancelledError

    settings = quick(settings, max_attempts=1)
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(careless)):
        await until(pool, [record], "dead")


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(settings, pool):
    runs = []

    async def slow_once(event, ctx):
        runs.append(ctx.delivery.attempt)
        if len(runs) == 1:
            await asyncio.Event().wait()

    settings = quick(settings, handler_timeout_s=0.2)
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(slow_once)):
        await until(pool, [record], "handled")

    assert runs == [1, 2]


async def test_a_fenced_worker_records_nothing_and_takes_the_partition_back(settings, pool):
    entered, go_on = asyncio.Event(), asyncio.Event()
    runs = []

    async def slow(event, ctx):
        runs.append(ctx.delivery.id)
        entered.set()
        await go_on.wait()

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(slow)):
        await asyncio.wait_for(entered.wait(), 15)
        await pool.execute("UPDATE partition_owner SET epoch = epoch + 1, worker = 'another'")
        go_on.set()
        # Its write is refused; as Kafka still assigns it the partition, it claims anew and reads it again.
        await until(pool, [record], "handled")

    assert len(runs) == 2
    assert await pool.fetchval("SELECT count(*) FROM handled") == 1


async def test_old_days_are_dropped_and_new_ones_are_made(settings, pool):
    old = datetime.now(UTC) - timedelta(days=40)
    await pool.execute(
        f"CREATE TABLE handled_{old:%Y%m%d} PARTITION OF handled "
        f"FOR VALUES FROM ('{old:%Y-%m-%d} 00:00+00') TO ('{old + timedelta(days=1):%Y-%m-%d} 00:00+00')"
    )
    async with working(settings):
        today = f"handled_{datetime.now(UTC):%Y%m%d}"
        await eventually(lambda: pool.fetchval("SELECT to_regclass($1)::text", today))
        gone = f"handled_{old:%Y%m%d}"
        await eventually(lambda: pool.fetchval("SELECT to_regclass($1) IS NULL", gone))
