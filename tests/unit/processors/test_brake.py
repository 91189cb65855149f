"""The brake against a model that keeps every run and counts anew each time."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from processors.brake import BUCKETS, PROBES, Brake, State
from processors.brakes import Brakes
from processors.pairs import LIVE, Dead, Done, Failure, History, Pair, Parked
from schemas.metrics import WorkerMetrics
from schemas.settings import Worker

SETTINGS = Worker(brake_least_failures=5, brake_window_s=60, brake_wait_s=30, brake_max_wait_s=300)


def brake(**changes):
    return Brake(SETTINGS.model_copy(update=changes), random.Random(1))


def ran(of, *, failed, now, times=1, slot=7):
    for _ in range(times):
        turn = of.begin(now)
        of.leave(turn)
        of.note(turn, slot=slot, failed=failed, now=now)


def braked(now=0.0, **changes):
    of = brake(**changes)
    ran(of, failed=True, now=now, times=5)
    assert of.state(now) is State.BRAKED
    return of


def test_so_many_failures_that_are_less_than_the_share_do_not_brake():
    of = brake()
    ran(of, failed=False, now=0.0, times=101)
    ran(of, failed=True, now=1.0, times=100)
    assert of.state(1.0) is State.FREE
    ran(of, failed=True, now=1.0)
    assert of.state(1.0) is State.BRAKED


def test_few_failures_do_not_brake_whatever_their_share():
    of = brake()
    ran(of, failed=True, now=0.0, times=4)
    assert of.state(0.0) is State.FREE


def test_failures_that_are_out_of_the_window_count_no_more():
    of = brake()
    ran(of, failed=True, now=0.0, times=4)
    ran(of, failed=True, now=60.0, times=4)
    assert of.state(60.0) is State.FREE


def test_one_tenant_whose_every_event_fails_brakes_the_handler_for_nobody():
    of = brake()
    for slot in range(2):
        ran(of, failed=False, now=0.0, slot=slot)
    ran(of, failed=True, now=0.0, times=1000, slot=255)
    assert of.state(0.0) is State.FREE
    ran(of, failed=True, now=0.0, slot=0)
    assert of.state(0.0) is State.BRAKED


def test_a_share_of_nothing_never_brakes():
    of = brake(brake_share=0)
    ran(of, failed=True, now=0.0, times=1000)
    assert of.state(0.0) is State.FREE


def test_a_braked_handler_runs_nothing_and_then_so_many_probes_at_once():
    of = braked()
    assert of.begin(29.9) is None
    turns = [of.begin(30.0) for _ in range(PROBES)]
    assert None not in turns
    assert of.begin(30.0) is None
    of.leave(turns[0])  # it was cancelled, or waits: another may be tried
    assert of.begin(30.0) is not None


def test_a_handler_that_always_fails_a_little_below_the_share_can_be_freed():
    of = braked()
    for number in range(PROBES):
        ran(of, failed=number % 10 < 4, now=30.0)
    assert of.state(30.0) is State.FREE


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_so_many_probes_always_decide(share):
    for failures in range(PROBES + 1):
        of = braked(brake_share=share)
        for number in range(PROBES):
            if of.state(30.0) is State.PROBING:
                ran(of, failed=number < failures, now=30.0)
        assert of.state(30.0) is not State.PROBING


def test_its_wait_doubles_up_to_the_longest_and_begins_anew_when_it_was_free():
    of, now = braked(), 0.0
    for wait_s in (30, 60, 120, 240, 300, 300):
        assert of.begin(now + wait_s - 0.1) is None
        for _ in range(20):
            assert wait_s <= of.put_off_s(now) <= 2 * wait_s
        now += wait_s
        ran(of, failed=True, now=now, times=5)
    now += 300
    ran(of, failed=False, now=now, times=6)
    assert of.state(now) is State.FREE
    ran(of, failed=True, now=now, times=5)
    assert of.begin(now + 29.9) is None
    assert of.begin(now + 30.0) is not None


@pytest.mark.parametrize("failed", [True, False])
def test_what_was_in_flight_when_it_engaged_tells_nothing_of_the_probes(failed):
    of = brake()
    before = [of.begin(0.0) for _ in range(100)]
    ran(of, failed=True, now=0.0, times=5)
    for turn in before:
        of.leave(turn)
        of.note(turn, slot=7, failed=failed, now=31.0)
    assert of.state(31.0) is State.PROBING
    assert sum(of.begin(31.0) is not None for _ in range(100)) == PROBES


class AnyRuns(RuleBasedStateMachine):
    """Runs begin, and end in any way, at any time."""

    @initialize(share=st.sampled_from([0.0, 0.3, 0.5, 1.0]), least=st.sampled_from([1, 5]))
    def start(self, share, least):
        self.share, self.least = share, least
        self.brake = brake(brake_share=share, brake_least_failures=least)
        self.now, self.era, self.wait_s, self.until = 100.0, 0, 0, 0.0
        self.turns: list[tuple[int, object]] = []
        self.runs: list[tuple[float, int, bool]] = []

    def wanted(self):
        if not self.wait_s:
            return State.FREE
        return State.BRAKED if self.now < self.until else State.PROBING

    @rule(count=st.integers(1, 12))
    def begin(self, count):
        for _ in range(count):
            state, running = self.wanted(), sum(era == self.era for era, _ in self.turns)
            turn = self.brake.begin(self.now)
            may = state is State.FREE or (state is State.PROBING and running + len(self.runs) < PROBES)
            assert (turn is not None) == may
            if turn is not None:
                self.turns.append((self.era, turn))

    @precondition(lambda self: self.turns)
    @rule(
        ends=st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from([True, True, False, None])), min_size=1, max_size=12
        ),
        data=st.data(),
    )
    def end(self, ends, data):
        for slot, failed in ends[: len(self.turns)]:
            era, turn = self.turns.pop(data.draw(st.integers(0, len(self.turns) - 1)))
            self.brake.leave(turn)
            if failed is None:
                continue
            self.brake.note(turn, slot=slot, failed=failed, now=self.now)
            if era == self.era:
                self.runs.append((self.now, slot, failed))
                self.decide()

    def decide(self):
        if not self.wait_s:
            oldest = self.now // 6 - BUCKETS
            seen = [(slot, failed) for at, slot, failed in self.runs if at // 6 > oldest]
            failures = [slot for slot, failed in seen if failed]
            is_of_many = len(set(failures)) >= self.share * len({slot for slot, _ in seen})
            is_bad = len(failures) >= max(self.least, self.share * len(seen)) and is_of_many
            if seen[-1][1] and self.share and is_bad:
                self.engage(30)
            return
        failed = sum(failed for *_, failed in self.runs)
        if failed >= self.share * PROBES:
            self.engage(min(300, self.wait_s * 2))
        elif failed + PROBES - len(self.runs) < self.share * PROBES:
            self.wait_s, self.era, self.runs = 0, self.era + 1, []

    def engage(self, wait_s):
        self.wait_s, self.until, self.era, self.runs = wait_s, self.now + wait_s, self.era + 1, []

    @rule(pause_s=st.sampled_from([0.1, 5.0, 30.0, 61.0, 301.0]))
    def time_passes(self, pause_s):
        self.now += pause_s

    @invariant()
    def it_is_in_the_models_state(self):
        assert self.brake.state(self.now) is self.wanted()


TestAnyRuns = AnyRuns.TestCase


AT = datetime(2026, 11, 24, tzinfo=UTC)
NOT_RUN = History()
PAIR = Pair("demo", "location-1", "delivery-1", LIVE, "bad", 0)
FAILED = History(1, (Failure(AT, "ValueError", "a bad deploy"),))


class OneWorker:
    """The brakes of a worker with two handlers, whose clock the test moves."""

    def __init__(self, **changes):
        self.now = 0.0
        self.collector = CollectorRegistry()
        self.brakes = Brakes(
            ["bad", "good"],
            SETTINGS.model_copy(update=changes),
            WorkerMetrics(self.collector),
            monotonic=lambda: self.now,
            rng=random.Random(1),
        )

    def gauge(self, handler="bad"):
        return self.collector.get_sample_value("levelgate_handler_braked", {"handler": handler, "run": "live"})

    def run(self, outcome, before=NOT_RUN):
        turn = self.brakes.begin(PAIR)
        assert turn is not None
        self.brakes.leave(PAIR, turn)
        return self.brakes.judged(PAIR, turn, outcome, before)


@pytest.fixture
def dead():
    return Dead(AT, FAILED)


@pytest.mark.expected_errors("handler_braked")
def test_a_braked_handler_is_told_once_and_nothing_of_it_dies_until_it_is_free(dead):
    of = OneWorker()
    with capture_logs() as logs:
        assert [of.run(dead) for _ in range(4)] == [dead] * 4
        assert (of.gauge(), of.brakes.braked) == (0, [])
        fifth = of.run(dead)
        assert isinstance(fifth, Parked)
        assert (fifth.reason, fifth.history) == ("braked", History(0, FAILED.failures))
        assert (of.gauge(), of.gauge("good"), of.brakes.braked) == (1, 0, ["bad"])
        of.now = 30.0
        assert [of.run(dead).reason for _ in range(5)] == ["braked"] * 5
        assert of.brakes.begin(PAIR) is None
        of.now = 90.0
        for _ in range(6):
            of.run(Done(AT, History(1)))
        assert (of.gauge(), of.brakes.braked) == (0, [])
        assert of.run(dead) == dead
    assert [log["event"] for log in logs] == ["handler_braked", "handler_freed"]


def test_runs_that_wait_brake_nothing_and_die_of_their_deadline_alone(dead):
    of = OneWorker()
    waits = Parked(AT, NOT_RUN, "waiting", None)
    for _ in range(100):
        assert of.run(waits) == waits
        assert of.run(Dead(AT, NOT_RUN)) == Dead(AT, NOT_RUN)
    assert of.brakes.braked == []
