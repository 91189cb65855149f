"""How much of a replay is under way at a time: before the workers, parked, and of whom it says that it waits."""

import asyncio
import contextlib

import pytest

from processors.parking import list_parked
from processors.replays import table
from processors.replays.publishing import Progress
from processors.replays.room import Bounds
from processors.replays.selection import Selection
from schemas.errors import InstallationMissing
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.replays import PUBLISHER, begun, publishing
from tests.support.workers import handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")

AWAY, HERE = "location-away", "location-here"


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}")


@pytest.fixture
def partitions():
    return 1  # what is published first is read first


class Tenants:
    """A handler that can run for those tenants of a replay that are connected."""

    def __init__(self, *connected):
        self.connected = set(connected)

        async def run(_event, ctx):
            if ctx.delivery.replay_id and ctx.delivery.tenant not in self.connected:
                raise InstallationMissing("not installed")

        self.handler = handler(run)


def events(settings, tenant, count):
    return [delivery(settings.kafka, tenant=tenant, entity=f"contact-{n}") for n in range(count)]


@contextlib.asynccontextmanager
async def published(settings, pool, replay, most):
    """The task that publishes a replay, and what it told so far."""
    told: list[Progress] = []
    task = asyncio.create_task(publishing(settings, pool, replay, told=told.append, most=most))
    try:
        yield task, told
    finally:
        task.cancel()
        await asyncio.wait([task])


async def done(pool, run, count):
    await eventually(lambda: table.outcomes(pool, [run]), lambda seen: seen[run].done == count, within_s=30)


async def test_no_more_is_published_than_the_workers_have_room_for(settings, pool):
    tenants = Tenants()
    await publish(settings.kafka, events(settings, AWAY, 20))
    replay = await begun(settings, pool, Selection())
    async with published(settings, pool, replay, Bounds(unhandled=5, parked=5)) as (task, told):
        # Nobody consumes: what is in front of the workers is the topic's.
        await eventually(lambda: told and told[-1].waits_for and "5 events" in told[-1].waits_for)
        assert (await table.find(pool, replay.id)).published == 5
        # Parked for want of an installation: the rest waits in its own topic, not in Postgres.
        async with working(settings, tenants.handler):
            await eventually(lambda: list_parked(pool), lambda rows: len(rows) == 5, within_s=30)
            await eventually(lambda: told[-1].waits_for and "5 parked pairs" in told[-1].waits_for)
            assert (await table.find(pool, replay.id)).published == 5
            tenants.connected.add(AWAY)
            assert await task == "finished"
            await done(pool, replay.id, 20)


async def test_what_is_parked_does_not_stand_in_the_workers_way(settings, pool):
    await publish(settings.kafka, [*events(settings, AWAY, 15), *events(settings, HERE, 15)])
    replay = await begun(settings, pool, Selection())
    async with working(settings, Tenants(HERE).handler):
        # Of the topic's room the parked pairs take nothing.
        async with asyncio.timeout(60):
            assert await publishing(settings, pool, replay, most=Bounds(unhandled=10, parked=100)) == "finished"
        await done(pool, replay.id, 15)

    assert [str(each) for each in await table.parked_by_tenant(pool, replay.id)] == [f"{AWAY} (15 disconnected)"]


async def test_a_replay_says_who_holds_it_up_and_goes_on_without(settings, pool):
    await publish(settings.kafka, [*events(settings, AWAY, 30), *events(settings, HERE, 10)])
    replay = await begun(settings, pool, Selection())
    most = Bounds(unhandled=10, parked=10)
    async with working(settings, Tenants(HERE).handler):
        async with published(settings, pool, replay, most):
            row = await eventually(
                lambda: table.find(pool, replay.id), lambda seen: f"of {AWAY} (" in (seen.waits_for or ""), within_s=30
            )
            held_up_at = row.published
            await table.change(pool, replay.id, "pause")
            row = await eventually(lambda: table.find(pool, replay.id), lambda seen: not seen.has_publisher)
            assert row.waits_for is None

        resumed = await table.take(pool, replay.id, PUBLISHER, not_tenants=[AWAY])
        assert resumed.selection.not_tenants == (AWAY,)
        async with asyncio.timeout(60):
            assert await publishing(settings, pool, resumed, most=most) == "finished"
        await done(pool, replay.id, 10)

    assert (await table.find(pool, replay.id)).published == held_up_at + 10
