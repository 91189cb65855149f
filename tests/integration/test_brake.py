"""A handler that fails on everything stops, instead of emptying a bad deploy into dead letters."""

import pytest

from levelgate import Permanent
from processors.deliveries import states
from processors.parking import list_parked
from processors.replays.selection import Selection
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.replays import replayed
from tests.support.workers import handler, quick, working

EVENTS = 500
LEAST = 50

pytestmark = pytest.mark.expected_errors("^aiokafka", "handler_braked")


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"brake-{settings.kafka.topic_prefix}", brake_least_failures=LEAST)


class Deploy:
    """Two handlers of one event type: `bad` fails on everything until it is mended."""

    def __init__(self):
        self.is_mended = False
        self.runs: list[tuple[str, str]] = []

    async def bad(self, event, ctx):
        if not self.is_mended:
            raise Permanent("a bad deploy")
        self.runs.append((event.id, ctx.delivery.id))

    async def good(self, event, ctx):
        pass

    @property
    def handlers(self):
        return handler(self.bad), handler(self.good)


@pytest.fixture
def deploy():
    return Deploy()


@pytest.fixture
def records(settings):
    return [delivery(settings.kafka, tenant=f"location-{n % 5}", entity=f"contact-{n % 250}") for n in range(EVENTS)]


def gauge(worker, name="bad", run="live"):
    return worker.collector.get_sample_value("levelgate_handler_braked", {"handler": name, "run": run})


async def counts(pool):
    """How many pairs of each handler are done, and how many are dead and parked."""
    row = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM dead) AS dead, (SELECT count(*) FROM parked) AS parked,"
        " count(*) FILTER (WHERE handler = 'good') AS good, count(*) FILTER (WHERE handler = 'bad') AS bad FROM handled"
    )
    return dict(row)


async def all_told(pool, wanted, within_s=60):
    """Wait until every pair is done, dead or parked, as `wanted` says of the counts."""
    return await eventually(lambda: counts(pool), wanted, within_s=within_s)


def in_order(deploy, records):
    order = [record.envelope.id for record in records]
    for entity in {entity for entity, _ in deploy.runs}:
        runs = [order.index(each) for of, each in deploy.runs if of == entity]
        assert runs == sorted(runs)


async def test_little_dies_the_rest_is_parked_in_order_and_a_new_worker_does_it_all(settings, pool, deploy, records):
    settings = quick(settings, brake_wait_s=1.0)
    await publish(settings.kafka, records)
    async with working(settings, *deploy.handlers) as worker:
        told = await all_told(
            pool, lambda c: c["good"] == EVENTS and c["dead"] + c["parked"] == EVENTS and gauge(worker)
        )
        assert gauge(worker, "good") == 0
        assert worker.health().braked == ["bad"]
    assert told["dead"] < LEAST
    assert {pair["reason"] for pair in await list_parked(pool, most=EVENTS)} == {"braked", "behind"}
    assert {pair["attempts"] for pair in await list_parked(pool, most=EVENTS)} == {0}

    deploy.is_mended = True
    async with working(settings, *deploy.handlers) as worker:
        told = await all_told(pool, lambda c: c["parked"] == 0)
        assert gauge(worker) == 0
    assert (told["bad"], told["dead"]) == (EVENTS - told["dead"], told["dead"])
    assert told["dead"] < LEAST
    in_order(deploy, records)


async def test_probes_free_a_handler_that_is_well_again_in_the_same_worker(settings, pool, deploy, records):
    settings = quick(settings, brake_wait_s=0.2, brake_max_wait_s=0.5)
    await publish(settings.kafka, records)
    async with working(settings, *deploy.handlers) as worker:
        # Some rounds of probes fail: what they run does not die of it.
        await eventually(lambda: probed(pool), lambda rounds: rounds >= 3, within_s=30)
        assert gauge(worker) == 1
        deploy.is_mended = True
        told = await all_told(pool, lambda c: c["parked"] == 0 and c["good"] == EVENTS)
        assert gauge(worker) == 0
        in_order(deploy, records)

        later = delivery(settings.kafka)
        await publish(settings.kafka, [later])
        await eventually(lambda: states(pool, [later.envelope.id]), lambda seen: set(seen.values()) == {"handled"})
    assert told["dead"] < LEAST


async def test_a_replay_whose_events_all_fail_stops_nothing_that_is_live(settings, pool, records):
    live: list[str] = []

    async def once_good(event, ctx):
        if ctx.delivery.replay_id:
            raise Permanent("its contact is gone by now")
        live.append(ctx.delivery.id)

    known = handler(once_good)
    await publish(settings.kafka, records)
    async with working(settings, known) as worker:
        await eventually(lambda: len(live) == EVENTS, within_s=30)
        await replayed(settings, pool, Selection())
        await eventually(lambda: gauge(worker, known.name, "replay"), within_s=30)
        assert worker.health().braked == [f"{known.name} (replays)"]

        await publish(settings.kafka, [delivery(settings.kafka, tenant=f"location-{n % 5}") for n in range(EVENTS)])
        await eventually(lambda: len(live) == 2 * EVENTS, within_s=30)
        assert gauge(worker, known.name) == 0
        dead = await pool.fetch("SELECT run FROM dead")
    assert 0 < len(dead) < LEAST
    assert "live" not in {row["run"] for row in dead}


async def probed(pool):
    """How often the pair that was tried most has failed; it is parked all the same."""
    return await pool.fetchval("SELECT max(jsonb_array_length(errors)) FROM parked") or 0
