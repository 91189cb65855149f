"""What `@on` says of a handler's policy, kept by a worker on a real Kafka and a real Postgres."""

import asyncio
from datetime import timedelta

import pytest

from levelgate import Retry
from processors.deliveries import trace
from processors.parking import list_parked
from schemas.errors import InstallationMissing
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.workers import handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"policies-of-{settings.kafka.topic_prefix}")


async def until(pool, record, **wanted):
    """Wait until each named handler of the delivery is in the wanted state."""

    async def states():
        traces = await trace(pool, record.envelope.id)
        return {h.name: h.state for t in traces for h in t.handlers}

    await eventually(states, lambda seen: wanted.items() <= seen.items(), within_s=30)


async def dead_pairs(pool):
    """Handler, attempts and last error of each dead pair."""
    rows = await pool.fetch("SELECT handler, attempts, errors #>> '{-1,error}' AS error FROM dead ORDER BY handler")
    return [tuple(row) for row in rows]


async def test_later_events_pass_a_parked_one_for_a_relaxed_handler_alone(settings, pool):
    ready = False
    runs: dict[str, list[str]] = {"relaxed": [], "strict": []}

    async def relaxed(event, ctx):
        if ctx.delivery.id == first.envelope.id and not ready:
            raise InstallationMissing("not yet")
        runs["relaxed"].append(ctx.delivery.id)

    async def strict(event, ctx):
        if ctx.delivery.id == first.envelope.id and not ready:
            raise InstallationMissing("not yet")
        runs["strict"].append(ctx.delivery.id)

    first, *later = records = [delivery(settings.kafka) for _ in range(3)]
    await publish(settings.kafka, records)
    async with working(settings, handler(relaxed, ordering="relaxed"), handler(strict)):
        for record in later:
            await until(pool, record, relaxed="done", strict="parked")
        await until(pool, first, relaxed="parked", strict="parked")
        ready = True
        for record in records:
            await until(pool, record, relaxed="done", strict="done")

    ids = [r.envelope.id for r in records]
    assert runs == {"relaxed": [*ids[1:], ids[0]], "strict": ids}
    assert await list_parked(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_all_parked_pairs_of_a_relaxed_handler_come_back_by_themselves(settings, pool):
    ready = False
    runs: list[str] = []

    async def relaxed(event, ctx):
        # The first one never succeeds: the others must not need it to.
        if not ready or ctx.delivery.id == records[0].envelope.id:
            raise InstallationMissing("not yet")
        runs.append(ctx.delivery.id)

    records = [delivery(settings.kafka) for _ in range(20)]
    await publish(settings.kafka, records)
    async with working(settings, handler(relaxed, ordering="relaxed")):
        for record in records:
            await until(pool, record, relaxed="parked")
        assert {p["reason"] for p in await list_parked(pool)} == {"disconnected"}
        ready = True
        for record in records[1:]:
            await until(pool, record, relaxed="done")

    assert sorted(runs) == sorted(r.envelope.id for r in records[1:])
    (left,) = await list_parked(pool)
    assert left["delivery"] == records[0].envelope.id


async def test_events_pass_a_relaxed_pair_that_was_parked_before_this_worker_came(settings, pool):
    async def relaxed(event, ctx):
        if ctx.delivery.id == first.envelope.id:
            raise InstallationMissing("not yet")

    first, later = delivery(settings.kafka), delivery(settings.kafka)
    await publish(settings.kafka, [first])
    async with working(settings, handler(relaxed, ordering="relaxed")):
        await until(pool, first, relaxed="parked")
    await publish(settings.kafka, [later])
    async with working(settings, handler(relaxed, ordering="relaxed")):
        await until(pool, later, relaxed="done")
        await until(pool, first, relaxed="parked")


@pytest.mark.parametrize(("before", "after"), [("strict", "relaxed"), ("relaxed", "strict")])
async def test_a_handler_may_change_its_ordering_while_pairs_of_it_are_parked(settings, pool, before, after):
    ready = False
    runs: list[str] = []

    async def changing(event, ctx):
        if not ready:
            raise InstallationMissing("not yet")
        runs.append(ctx.delivery.id)

    records = [delivery(settings.kafka) for _ in range(4)]
    await publish(settings.kafka, records[:3])
    async with working(settings, handler(changing, ordering=before)):
        for record in records[:3]:
            await until(pool, record, changing="parked")
    await publish(settings.kafka, records[3:])
    async with working(settings, handler(changing, ordering=after)):
        await until(pool, records[3], changing="parked")
        ready = True
        for record in records:
            await until(pool, record, changing="done")

    assert sorted(runs) == sorted(r.envelope.id for r in records)


async def test_each_handler_has_its_own_number_of_attempts(settings, pool):
    async def once(event, ctx):
        raise ValueError("always")

    async def thrice(event, ctx):
        raise ValueError("always")

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(once, attempts=1), handler(thrice, attempts=3)):
        await until(pool, record, once="dead", thrice="dead")

    assert await dead_pairs(pool) == [("once", 1, "ValueError"), ("thrice", 3, "ValueError")]


async def test_the_deadline_ends_waiting_and_frees_the_line(settings, pool):
    async def patient(event, ctx):
        if ctx.delivery.id == first.envelope.id:
            raise InstallationMissing("never")

    async with working(settings, handler(patient, deadline=timedelta(milliseconds=1500))):
        # Received now: to start a worker may take longer than that.
        first, later = records = delivery(settings.kafka), delivery(settings.kafka)
        await publish(settings.kafka, records)
        await until(pool, first, patient="dead")
        await until(pool, later, patient="done")

    assert await dead_pairs(pool) == [("patient", 0, "InstallationMissing")]


async def test_a_pair_that_may_not_run_before_its_deadline_is_dead_at_once(settings, pool):
    async def late(event, ctx):
        raise Retry(after=timedelta(hours=2))

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(late, deadline=timedelta(hours=1))):
        await until(pool, record, late="dead")

    assert await dead_pairs(pool) == [("late", 1, "Retry")]


async def test_each_handler_has_its_own_time_to_run(settings, pool):
    async def hasty(event, ctx):
        await asyncio.Event().wait()

    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])
    async with working(settings, handler(hasty, timeout=timedelta(milliseconds=100), attempts=1)):
        await until(pool, record, hasty="dead")

    assert await dead_pairs(pool) == [("hasty", 1, "TimeoutError")]
