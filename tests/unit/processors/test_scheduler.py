"""The scheduler against lists: as many run as may, no more, and whoever may run does."""

import asyncio
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from processors import scheduler as scheduler_module
from processors.coalescing import Place
from processors.dispatch import Dispatcher
from processors.pairs import Record
from processors.scheduler import Scheduler
from schemas.ids import AppName
from schemas.metrics import WorkerMetrics
from schemas.settings import Kafka
from tests.support.deliveries import delivery
from tests.support.eventually import settle

KAFKA = Kafka()
PLACES = 4


class Gates(Dispatcher):
    """Dispatches what ends when its gate is opened, even if it was cancelled once before."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}

    async def open(self, *names: str) -> None:
        """Open gates, all of them unless named, and let what waited there go on."""
        for name in names or list(self.gates):
            self.gates[name].set()
        await settle()

    def begin(self, place: Place) -> None:
        self.gates[place.record.envelope.id] = asyncio.Event()

    async def dispatch(self, place: Place) -> None:
        gate = self.gates[place.record.envelope.id]
        try:
            await gate.wait()
        except asyncio.CancelledError:
            await gate.wait()
        del self.gates[place.record.envelope.id]


def scheduler_of(gates, *, places=lambda most: most, unrecorded=lambda: 0):
    def failed(error):
        raise error

    return Scheduler(
        gates,
        concurrency=PLACES,
        places=places,
        unrecorded=unrecorded,
        metrics=WorkerMetrics(CollectorRegistry()),
        failed=failed,
    )


def finished(ours):
    raise AssertionError("nothing is recorded here")


class SchedulerAgainstLists(RuleBasedStateMachine):
    """Deliveries come and end, places and what is unrecorded go up and down, in any order."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gates = Gates()
        self.places, self.unrecorded = PLACES, 0
        self.scheduler = scheduler_of(
            self.gates, places=lambda most: min(most, self.places), unrecorded=lambda: self.unrecorded
        )
        self.waiting: list[Record] = []
        self.running: dict[str, Record] = {}

    def teardown(self):
        while self.gates.gates:
            self.loop.run_until_complete(self.gates.open())
        self.loop.close()

    def do(self, what):
        async def call():
            what()
            await settle()

        self.loop.run_until_complete(call())
        # What started is moved over one by one, as if it had done so in that order: each found room.
        for begun in [each for each in self.waiting if each.envelope.id in self.gates.gates]:
            assert self.may_start(begun)
            self.waiting.remove(begun)
            self.running[begun.envelope.id] = begun

    def may_start(self, record):
        tenants = Counter(tenant(each) for each in self.running.values())
        first = next(each for each in self.waiting if entity(each) == entity(record))
        return (
            len(self.running) < self.places
            and len(self.running) + self.unrecorded < 2 * PLACES
            and tenants[tenant(record)] < PLACES // 2
            and entity(record) not in map(entity, self.running.values())
            and record is first
        )

    @rule(app=st.sampled_from("ab"), location=st.sampled_from("xyz"), contact=st.sampled_from("123"))
    def add(self, app, location, contact):
        record = delivery(KAFKA, app=AppName(app), tenant=location, entity=contact)
        self.waiting.append(record)
        self.do(lambda: self.scheduler.add(record, epoch=1, finished=finished))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_ends(self, data):
        self.end(data.draw(st.sampled_from(list(self.running))))

    def end(self, delivery_id):
        gate = self.gates.gates[delivery_id]
        del self.running[delivery_id]
        self.do(gate.set)

    @rule(places=st.sampled_from([0, 1, PLACES]), unrecorded=st.integers(0, 2 * PLACES))
    def change(self, places, unrecorded):
        self.places, self.unrecorded = places, unrecorded
        self.do(self.scheduler.pump)

    @invariant()
    def whoever_may_run_does(self):
        assert self.running.keys() == self.gates.gates.keys()
        assert not [each.envelope for each in self.waiting if self.may_start(each)]


def tenant(record):
    return record.envelope.app, record.envelope.tenant


def entity(record):
    return *tenant(record), record.envelope.entity


TestSchedulerAgainstLists = SchedulerAgainstLists.TestCase


@pytest.mark.expected_errors("handlers_ignored_cancellation")
async def test_what_ignores_its_cancellation_is_left_behind_and_its_entity_waits_for_it(monkeypatch):
    monkeypatch.setattr(scheduler_module, "_CANCEL_S", 0)
    gates = Gates()
    scheduler = scheduler_of(gates)
    stuck, later = delivery(KAFKA), delivery(KAFKA)
    scheduler.add(stuck, epoch=1, finished=finished)
    await settle()

    with capture_logs() as logs:
        await scheduler.stop([stuck.partition], grace_s=0)

    assert [each["count"] for each in logs if each["event"] == "handlers_ignored_cancellation"] == [1]
    scheduler.add(later, epoch=2, finished=finished)
    await settle()
    assert list(gates.gates) == [stuck.envelope.id]
    await gates.open(stuck.envelope.id)
    assert list(gates.gates) == [later.envelope.id]
    await gates.open(later.envelope.id)
