"""The API fails: for everyone, and the worker stands still until it answers; for one tenant, and the others go on."""

from collections import deque

import aiohttp
import pytest

from processors.handlers import contact
from processors.parking import list_parked
from processors.registry import marked
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.highlevel import connect
from tests.support.workers import quick, working

TENANTS = [f"loc-of-the-test-{n:04}" for n in range(30)]
CONCURRENCY = 10

pytestmark = pytest.mark.expected_errors("^aiokafka", "circuit_opened.*highlevel")


@pytest.fixture
def settings(settings, simulator):
    changes = {"group": f"outages-{settings.kafka.topic_prefix}", "concurrency": CONCURRENCY, "waiting_retry_s": 0.5}
    return simulator.point(quick(settings, **changes))


def contacts(settings, simulator, tenants, each):
    """Updates of contacts that the vendor knows, `each` for every tenant, taken in turns."""
    records = []
    for number in range(each):
        for index, tenant in enumerate(tenants):
            entity = f"con{index:04}of{number:011}"
            simulator.put("contact", tenant, {"id": entity, "locationId": tenant})
            records.append(delivery(settings.kafka, type="ContactUpdate", tenant=tenant, entity=entity))
    return records


def gauge(worker, dependency="highlevel"):
    return worker.collector.get_sample_value("levelgate_circuit_open", {"dependency": dependency})


async def consumed(worker):
    """How much it has read, as soon as it reads no more: a poll that is under way may still bring something."""
    labels = {"app": "demo", "family": "contact"}
    last: deque[float | None] = deque(maxlen=10)

    def ask():
        last.append(worker.collector.get_sample_value("levelgate_deliveries_consumed_total", labels))
        return [*last]

    return (await eventually(ask, lambda seen: len(seen) == last.maxlen and len({*seen}) == 1))[0]


def failed_calls(worker):
    labels = {"app": "demo", "family": "contacts", "status": "5xx"}
    return worker.collector.get_sample_value("levelgate_api_calls_total", labels) or 0


async def test_an_outage_stops_consumption_parks_little_costs_only_its_first_calls_an_attempt_and_ends_by_itself(
    settings, simulator, pool
):
    # One failed attempt is all that a pair may have: were the probes to use up any, pairs would die.
    settings = quick(settings, concurrency=CONCURRENCY, waiting_retry_s=0.5, max_attempts=2, stalled_after_s=10)
    await connect(settings, simulator, *TENANTS)
    simulator.fault("error", "/contacts/", times=None)
    records = contacts(settings, simulator, TENANTS, each=10)
    await publish(settings.kafka, records)
    async with working(settings, *marked(contact, built_in=True)) as worker, aiohttp.ClientSession() as session:
        await eventually(lambda: gauge(worker) == 1)
        await eventually(lambda: worker.collector.get_sample_value("levelgate_handling_in_flight") == 0)
        in_flight = failed_calls(worker)
        # Each probe waits twice as long as the one before: two of them, over two seconds or so.
        await eventually(lambda: failed_calls(worker) >= in_flight + 2, within_s=40)
        # It is open for two seconds at least now; while a probe runs it reads, so that there is something to try.
        read = await consumed(worker)
        more = contacts(settings, simulator, TENANTS, each=2)
        await publish(settings.kafka, more)
        assert await consumed(worker) == read
        parked = await list_parked(pool, most=1000)
        async with session.get(f"http://127.0.0.1:{worker.metrics_port}/readyz") as answer:
            assert (answer.status, (await answer.json())["circuit_open"]) == (200, ["highlevel"])
        async with session.get(f"http://127.0.0.1:{worker.metrics_port}/livez") as answer:
            assert answer.status == 200
        simulator.vendor.faults.clear()
        await until(pool, [*records, *more], "handled")
        assert gauge(worker) == 0

    assert len(parked) <= 2 * CONCURRENCY
    assert {pair["reason"] for pair in parked} <= {"retry", "waiting"}
    # The five calls that opened the circuit (decision 15).
    assert sum(pair["attempts"] for pair in parked) <= 5
    assert await pool.fetchval("SELECT count(*) FROM dead") == 0


async def test_a_token_endpoint_that_is_down_for_everyone_is_an_outage_too(settings, simulator, pool):
    settings = quick(settings, concurrency=CONCURRENCY, waiting_retry_s=0.5, max_attempts=2)
    await connect(settings, simulator, *TENANTS)
    await pool.execute("UPDATE installation SET expires_at = now()")
    simulator.fault("error", "/oauth/token", times=None)
    records = contacts(settings, simulator, TENANTS, each=2)
    await publish(settings.kafka, records)
    async with working(settings, *marked(contact, built_in=True)) as worker:
        await eventually(lambda: gauge(worker) == 1)
        simulator.vendor.faults.clear()
        await until(pool, records, "handled")

    assert await pool.fetchval("SELECT count(*) FROM dead") == 0


async def test_one_tenant_that_fails_alone_stops_no_other(settings, simulator, pool):
    bad, *others = TENANTS[:10]
    await connect(settings, simulator, bad, *others)
    simulator.fault("error", "/contacts/con0000", times=None)  # the first tenant's
    records = contacts(settings, simulator, [bad, *others], each=10)
    await publish(settings.kafka, records)
    async with working(settings, *marked(contact, built_in=True)) as worker:
        await until(pool, [r for r in records if r.envelope.tenant != bad], "handled")
        assert gauge(worker) == 0
        simulator.vendor.faults.clear()
        await until(pool, [r for r in records if r.envelope.tenant == bad], "handled")
