"""A tenant's flood under the vendor's limits, end to end: no call that would be refused, and every event in the end."""

import contextlib
import itertools
from functools import partial

import pytest

from processors.budgets import list_budgets
from processors.deliveries import trace
from processors.handlers import contact
from processors.parking import Parking
from processors.registry import marked
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.highlevel import connect
from tests.support.workers import quick, working

LOCATION = "loc-of-the-test-0001"
TENANTS = [f"loc-of-the-test-{n:04}" for n in range(1, 7)]
CALLS = "GET /contacts/{contactId}"
HANDLERS = marked(contact, built_in=True)

pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
async def settings(settings, simulator):
    """A worker that gives a pair up at its first failure: were waiting to use up an attempt, pairs would die."""
    settings = simulator.point(quick(settings, group=f"budget-{settings.kafka.topic_prefix}", max_attempts=1))
    await connect(settings, simulator, *TENANTS)
    return settings


@pytest.fixture
def parked(settings, pool):
    """Ask how many pairs are parked, by reason."""
    return partial(Parking(pool, group=settings.worker.group).counts, range(settings.kafka.partitions))


@pytest.fixture
def updates(settings, simulator):
    """Make updates of as many contacts of some tenants, taken in turns: `records = updates(20, LOCATION)`.

    No two are of one contact: they would be done by one call.
    """
    numbers = itertools.count()

    def make(each, *tenants, **changes):
        records = []
        for number in itertools.islice(numbers, each):
            for tenant in tenants:
                entity = f"con{number:06}of{tenant}"
                simulator.put("contact", tenant, {"id": entity, "locationId": tenant})
                records.append(delivery(settings.kafka, type="ContactUpdate", tenant=tenant, entity=entity, **changes))
        return records

    return make


async def test_a_tenants_flood_causes_no_429_and_waiting_uses_up_no_attempt(settings, simulator, pool, updates):
    simulator.limit(burst=20, interval_s=1.0)
    records = updates(70, LOCATION)
    await publish(settings.kafka, records)
    async with working(settings, *HANDLERS):
        await until(pool, records, "handled")

    assert simulator.limited == 0
    assert simulator.calls(CALLS) == len(records)
    (found,) = await trace(pool, records[-1].envelope.id)
    assert [handler.attempts for handler in found.handlers] == [1]
    assert await pool.fetchval("SELECT count(*) FROM mirror_contact") == len(records)


async def test_a_flood_over_several_tenants_causes_no_429_while_their_owners_change(
    settings, simulator, pool, updates, parked
):
    simulator.limit(burst=20, interval_s=600.0)
    waves = [updates(each, *TENANTS) for each in (10, 15, 2, 2)]

    async def flood(wave):
        await publish(settings.kafka, wave)
        await until(pool, wave, "handled", "parked")

    async with contextlib.AsyncExitStack() as later:
        async with working(settings, *HANDLERS) as first:
            await flood(waves[0])
            # Half of the interval's calls are left, and the second worker spends them of the tenants that it gets.
            async with working(settings, *HANDLERS) as second:
                await eventually(lambda: first.is_ready and second.is_ready, within_s=30)
                await flood(waves[1])
            # The first one has them again: what it remembers is too good to be true.
            await flood(waves[2])
            await later.enter_async_context(working(settings, *HANDLERS))
        await flood(waves[3])
        # Who had to wait for another's answer, and not for the interval's end, is back by now.
        await eventually(lambda: simulator.calls(CALLS), lambda calls: calls == 20 * len(TENANTS), within_s=60)
        await eventually(parked, lambda counts: counts == {"waiting": 9 * len(TENANTS)})

    assert simulator.limited == 0
    handled = await pool.fetch("SELECT tenant, count(*), max(attempts) FROM handled GROUP BY tenant ORDER BY tenant")
    assert [tuple(row) for row in handled] == [(tenant, 20, 1) for tenant in TENANTS]


async def test_a_day_that_is_spent_is_known_to_the_next_owner_without_a_call(
    settings, simulator, pool, updates, parked
):
    simulator.limit(daily=15)
    before, after = updates(20, LOCATION), updates(3, LOCATION)
    await publish(settings.kafka, before)
    async with working(settings, *HANDLERS):
        await eventually(parked, lambda counts: counts == {"waiting": 5})
    (spent,) = await list_budgets(pool, app="demo", tenant=LOCATION)

    async with working(settings, *HANDLERS):
        await publish(settings.kafka, after)
        await eventually(parked, lambda counts: sum(counts.values()) == 8)

    assert (simulator.calls(CALLS), simulator.limited) == (15, 0)
    assert (spent["day_left"], spent["day_limit"], spent["waiting"]) == (0, 15, 5)
    assert (spent["day_spent"]["live"], spent["told_at"] is None, spent["day_until"] is None) == (15, False, False)


async def test_live_events_pass_a_replays_flood_that_spends_its_share_alone(settings, simulator, pool, updates, parked):
    simulator.limit(burst=20, interval_s=600.0)
    replayed, live = updates(30, LOCATION, replay_id="replay-1"), updates(15, LOCATION)
    await publish(settings.kafka, replayed)
    async with working(settings, *HANDLERS):
        await eventually(parked, lambda counts: counts == {"waiting": 25})
        await publish(settings.kafka, live)
        await until(pool, live, "handled")
        assert (simulator.calls(CALLS), simulator.limited) == (20, 0)
        (budget,) = await list_budgets(pool, app="demo", tenant=LOCATION)
    assert budget["day_spent"] == {"live": 15, "retry": 0, "replay": 5}
    assert (budget["interval_left"], budget["waiting"]) == (0, 25)
