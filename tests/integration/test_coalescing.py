"""Events of one entity that wait together become one run of a handler that coalesces; all of them are done by it."""

import asyncio

import msgspec
import pytest
from pydantic import SecretStr

from levelgate import Permanent
from levelgate.highlevel.oauth import Grant
from processors.deliveries import trace
from processors.handlers import contact
from processors.pairs import History
from processors.parking import DuePair, Parking, list_parked
from processors.registry import marked
from schemas.errors import InstallationMissing
from schemas.ids import AppName, CompanyId, LocationId
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.highlevel import our_side
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")

LOCATION = "loc-of-the-test-0001"


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"coalescing-of-{settings.kafka.topic_prefix}")


def coalescing(function, **policy):
    return handler(function, "ContactUpdate", coalesce=True, **policy)


class Gate:
    """Holds the first delivery of an entity, until all that was published after it waits behind it."""

    def __init__(self, settings, tenant="location-1") -> None:
        self._kafka = settings.kafka
        self._tenant = tenant
        self._entered = asyncio.Event()
        self._read = asyncio.Event()
        self.open = asyncio.Event()

    async def hold(self) -> None:
        self._entered.set()
        await self.open.wait()

    @property
    def sentinel(self):
        """The handler of what is published last: the same tenant's, so that all before it is read when it runs."""

        async def sentinel(event, ctx):
            if event.id == "sentinel":
                self._read.set()

        return handler(sentinel, "ContactDelete")

    async def fill(self, first, waiting) -> None:
        await publish(self._kafka, [first])
        await asyncio.wait_for(self._entered.wait(), 30)
        await self.read(waiting)

    async def read(self, waiting) -> None:
        self._read.clear()
        last = delivery(self._kafka, type="ContactDelete", entity="sentinel", tenant=self._tenant)
        await publish(self._kafka, [*waiting, last])
        await asyncio.wait_for(self._read.wait(), 30)


def updates(settings, count):
    return [delivery(settings.kafka, type="ContactUpdate") for _ in range(count)]


def ids(records):
    return [record.envelope.id for record in records]


async def attempts(pool, record, handler):
    (found,) = await trace(pool, record.envelope.id)
    return next(each.attempts for each in found.handlers if each.name == handler)


def counted(worker, handler, outcome):
    labels = {"handler": handler, "type": "ContactUpdate", "outcome": outcome}
    return worker.collector.get_sample_value("levelgate_pairs_handled_total", labels) or 0


async def test_what_waits_together_is_one_run_and_a_handler_that_does_not_coalesce_runs_for_each(settings, pool):
    gate = Gate(settings)
    runs: dict[str, list[str]] = {"folding": [], "each": []}

    async def folding(event, ctx):
        runs["folding"].append(ctx.delivery.id)
        await gate.hold()

    async def each(event, ctx):
        runs["each"].append(ctx.delivery.id)

    records = updates(settings, 100)
    async with working(settings, coalescing(folding), handler(each, "ContactUpdate"), gate.sentinel) as worker:
        await gate.fill(records[0], records[1:])
        gate.open.set()
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda count: count == len(records) + 1)

        assert runs == {"folding": ids([records[0], records[-1]]), "each": ids(records)}
        assert (counted(worker, "folding", "done"), counted(worker, "folding", "coalesced")) == (2, 98)
        assert [await attempts(pool, record, "folding") for record in (records[50], records[-1])] == [0, 1]

        again = [records[50], records[-1]]
        await gate.read(again)
        await eventually(lambda: committed(settings), lambda count: count == len(records) + len(again) + 2)

    assert len(runs["folding"]) == 2
    assert counted(worker, "folding", "skipped") == len(again)
    assert await pool.fetchval("SELECT count(*) FROM handled WHERE handler = 'folding'") == len(records)


async def test_what_is_done_already_and_comes_again_among_those_that_wait_is_not_run_for(settings, pool):
    gate = Gate(settings)
    runs: list[str] = []

    async def folding(event, ctx):
        runs.append(ctx.delivery.id)
        if ctx.delivery.id == first.envelope.id:
            await gate.hold()

    old, first, *waiting = records = updates(settings, 4)
    async with working(settings, coalescing(folding), gate.sentinel):
        await gate.read([old])
        await until(pool, [old], "handled")
        await gate.fill(first, [*waiting, waiting[0], first, old])
        gate.open.set()
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda count: count == len(records) + 5)

    assert runs == ids([old, first, waiting[-1]])
    assert await pool.fetchval("SELECT count(*) FROM handled WHERE handler = 'folding'") == len(records)


@pytest.mark.parametrize(
    ("error", "last_runs"),
    [(InstallationMissing("not yet"), [-1]), (ValueError("not yet"), [1, -1])],
    ids=["a run that waits is folded again", "one that has failed is tried alone first"],
)
async def test_a_failed_run_parks_its_leader_alone_and_the_line_behind_it_is_one_run(settings, pool, error, last_runs):
    gate = Gate(settings)
    ready = False
    runs: list[str] = []

    async def folding(event, ctx):
        await gate.hold()
        if not ready and ctx.delivery.id != records[0].envelope.id:
            raise error
        runs.append(ctx.delivery.id)

    records = updates(settings, 40)
    async with working(settings, coalescing(folding, attempts=1000), gate.sentinel) as worker:
        await gate.fill(records[0], records[1:])
        gate.open.set()
        await until(pool, records[1:], "parked")
        (head,) = [each for each in await list_parked(pool) if each["reason"] != "behind"]
        assert head["delivery"] == records[1].envelope.id
        runs.clear()
        ready = True
        await until(pool, records, "handled")

        assert runs == [records[number].envelope.id for number in last_runs]
        assert await pool.fetchval("SELECT count(*) FROM parked") == 0
        assert await pool.fetchval("SELECT count(*) FROM held") == 0
        assert await pool.fetchval("SELECT count(*) FROM handled WHERE handler = 'folding'") == len(records)
        # The line is empty in memory too: the next one does not park.
        parked = counted(worker, "folding", "parked")
        (later,) = updates(settings, 1)
        await publish(settings.kafka, [later])
        await until(pool, [later], "handled")
        assert counted(worker, "folding", "parked") == parked


async def test_a_newest_event_that_nothing_can_be_done_with_dies_alone(settings, pool):
    gate = Gate(settings)
    runs: list[str] = []

    async def folding(event, ctx):
        await gate.hold()
        if ctx.delivery.id == records[-1].envelope.id:
            raise Permanent("it names nothing")
        runs.append(ctx.delivery.id)

    records = updates(settings, 4)
    async with working(settings, coalescing(folding), gate.sentinel):
        await gate.fill(records[0], records[1:])
        gate.open.set()
        await until(pool, records[-1:], "dead")
        await until(pool, records[:-1], "handled")

    assert runs == ids(records[:-1])


async def test_a_fold_does_not_pass_what_another_handler_does(settings, pool):
    gate = Gate(settings)
    runs: list[str] = []

    async def folding(event, ctx):
        runs.append(ctx.delivery.id)
        await gate.hold()

    async def deleting(event, ctx):
        if event.id != "sentinel":
            runs.append(ctx.delivery.id)

    before, after = updates(settings, 3), updates(settings, 2)
    deletion = delivery(settings.kafka, type="ContactDelete")
    records = [*before, deletion, *after]
    async with working(settings, coalescing(folding), handler(deleting, "ContactDelete"), gate.sentinel):
        await gate.fill(records[0], records[1:])
        gate.open.set()
        await until(pool, records, "handled")

    assert runs == ids([before[0], before[-1], deletion, after[-1]])


async def test_of_a_run_that_is_cut_off_nothing_is_recorded_and_all_of_it_runs_again(settings, pool):
    gate, cut_off = Gate(settings), asyncio.Event()
    runs: list[str] = []

    async def folding(event, ctx):
        runs.append(ctx.delivery.id)
        await gate.hold()
        if len(runs) == 2:
            cut_off.set()
            await asyncio.Event().wait()

    records = updates(settings, 10)
    settings = quick(settings, group=settings.worker.group, grace_s=0.1)
    async with working(settings, coalescing(folding), gate.sentinel):
        await gate.fill(records[0], records[1:])
        gate.open.set()
        await asyncio.wait_for(cut_off.wait(), 30)
    assert await pool.fetchval("SELECT count(*) FROM handled WHERE handler = 'folding'") == 1

    async with working(settings, coalescing(folding), gate.sentinel):
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda count: count == len(records) + 1)
    assert records[-1].envelope.id in runs[2:]
    assert await pool.fetchval("SELECT count(*) FROM handled WHERE handler = 'folding'") == len(records)


async def test_a_burst_of_updates_of_one_contact_is_read_once_and_the_mirror_is_the_newest(settings, simulator, pool):
    settings = simulator.point(settings)
    gate = Gate(settings, LOCATION)

    async def holding(event, ctx):
        await gate.hold()

    created = delivery(settings.kafka, tenant=LOCATION)
    burst = [delivery(settings.kafka, type="ContactUpdate", tenant=LOCATION) for _ in range(50)]
    simulator.put("contact", LOCATION, {"id": "contact-1", "locationId": LOCATION, "firstName": "first"})
    async with our_side(settings) as ours:
        token = SecretStr(simulator.grant(LOCATION)["access_token"])
        grant = Grant(access_token=token, level="location", company=CompanyId("company"), location=LocationId(LOCATION))
        await ours.tokens.store_grant(AppName("demo"), grant)
    async with working(settings, *marked(contact, built_in=True), handler(holding, "ContactCreate"), gate.sentinel):
        await gate.fill(created, burst)
        simulator.put("contact", LOCATION, {"id": "contact-1", "locationId": LOCATION, "firstName": "newest"})
        gate.open.set()
        await until(pool, [created, *burst], "handled")

    assert simulator.calls("GET /contacts/{contactId}") == 2
    assert await pool.fetchval("SELECT body ->> 'firstName' FROM mirror_contact") == "newest"


async def test_a_parked_line_folds_up_to_the_first_pair_that_has_a_time_of_its_own(settings, pool):
    head = msgspec.structs.replace(delivery(settings.kafka), offset=3)
    line = [(2, "infinity"), (3, "now"), (4, "infinity"), (5, "infinity"), (6, "infinity"), (7, "now"), (8, "infinity")]
    for offset, due_at in line:
        key = ("demo", "location-1", f"d{offset}", "live")
        place = (head.topic, -1, offset)
        await pool.execute(
            "INSERT INTO held VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())",
            *(*key, *place, msgspec.msgpack.encode(head.headers), b"%d" % offset),
        )
        await pool.execute(
            "INSERT INTO parked VALUES ($1, $2, $3, $4, 'h', 0, 'g', $5, $6, $7, 'contact-1', 'ContactCreate',"
            f" 'behind', 0, '{due_at}', '[]', '[]', now())",
            *(*key, *place),
        )
    parking = Parking(pool, group="g")
    due = DuePair(msgspec.structs.replace(head.pair("h", 0), delivery="d3"), head, History())

    async def followers(most):
        found = await parking.followers(due, most=most)
        return [pair.delivery for pair in found], next(reversed(found.values())).body if found else None

    assert await followers(10) == (["d4", "d5", "d6"], b"6")
    assert await followers(2) == (["d4", "d5"], b"5"), "no more than asked for: the newest of those"
    await pool.execute("UPDATE parked SET due_at = 'now' WHERE delivery = 'd4'")
    assert await followers(10) == ([], None)
