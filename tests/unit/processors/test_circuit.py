"""The circuit against a model that keeps every call and counts anew each time."""

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry

from levelgate.highlevel.client import CallEnd
from processors.circuit import Circuit, State
from processors.outages import Outages
from schemas.errors import ApiUnavailable, RefreshFailed
from schemas.ids import AppName, TenantId
from schemas.metrics import WorkerMetrics

WINDOW_S, SHARE, LEAST = 20.0, 0.9, 5


def circuit(seed=1):
    return Circuit(random.Random(seed))


def call(of, tenant, *, ok, now):
    of.note(tenant, ok=ok, began=now, now=now)


def test_one_tenant_that_fails_among_others_that_do_not_never_opens_it():
    of = circuit()
    for now in range(200):
        call(of, "good", ok=True, now=now)
        for _ in range(10):
            call(of, "bad", ok=False, now=now)
        assert of.state(now) is State.CLOSED


def test_a_tenant_that_is_the_only_one_to_call_opens_it_when_it_failed_so_often():
    of = circuit()
    for _ in range(LEAST - 1):
        call(of, "only", ok=False, now=0.0)
    assert of.places(256, 0.0) == 256
    call(of, "only", ok=False, now=0.0)
    assert of.places(256, 0.0) == 0


def test_a_tenant_that_called_too_long_ago_speaks_for_nothing():
    of = circuit()
    call(of, "good", ok=True, now=0.0)
    for number in range(LEAST):
        call(of, f"bad-{number}", ok=False, now=WINDOW_S + 1)
    assert of.state(WINDOW_S + 1) is State.OPEN


def test_its_wait_doubles_from_one_second_to_thirty_and_begins_anew_after_an_answer():
    of, now = circuit(), 0.0
    for _ in range(LEAST):
        call(of, "t", ok=False, now=now)
    for span in (1, 2, 4, 8, 16, 30, 30):
        assert span / 2 <= of.wait_left_s(now) <= span
        now += of.wait_left_s(now)
        assert (of.state(now), of.places(256, now)) == (State.HALF_OPEN, 1)
        call(of, "t", ok=False, now=now)
    now += of.wait_left_s(now)
    call(of, "t", ok=True, now=now)
    assert of.places(256, now) == 256
    for _ in range(LEAST):
        call(of, "t", ok=False, now=now + 1)
    assert of.wait_left_s(now + 1) <= 1


@pytest.mark.parametrize("ok", [True, False])
def test_a_call_that_began_before_the_wait_was_over_tells_nothing(ok):
    of = circuit()
    for _ in range(LEAST):
        call(of, "t", ok=False, now=0.0)
    of.note("t", ok=ok, began=0.1, now=20.0)
    assert of.state(20.0) is State.HALF_OPEN


class AnyCalls(RuleBasedStateMachine):
    """Calls of a few tenants end in any way at any time."""

    @initialize(seed=st.integers())
    def start(self, seed):
        self.circuit = circuit(seed)
        self.now = 100.0
        self.calls: list[tuple[float, str, bool]] = []
        self.since = 0.0
        self.wait_s = 0.0

    @rule(tenant=st.sampled_from("abcdefghijkl"), ok=st.booleans(), took_s=st.sampled_from([0.0, 0.0, 0.5, 40.0]))
    def call_ends(self, tenant, ok, took_s):
        began = self.now - took_s
        self.circuit.note(tenant, ok=ok, began=began, now=self.now)
        if began < self.since:
            return
        if not self.wait_s:
            self.calls.append((self.now, tenant, ok))
            if not ok and self.is_bad():
                self.opened(1.0)
        elif ok:
            self.wait_s, self.since, self.calls = 0.0, self.now, []
        else:
            self.opened(min(30.0, self.wait_s * 2))

    @rule(tenants=st.sets(st.sampled_from("abcdefghijkl")))
    def all_of_them_fail(self, tenants):
        for tenant in sorted(tenants):
            self.call_ends(tenant, ok=False, took_s=0.0)

    @rule(pause_s=st.sampled_from([0.1, 1.0, 5.0, 21.0, 31.0]))
    def time_passes(self, pause_s):
        self.now += pause_s

    def is_bad(self):
        seen = [each for each in self.calls if each[0] >= self.now - WINDOW_S]
        last = {tenant: ok for _, tenant, ok in seen}
        failing = sum(not ok for ok in last.values())
        return failing >= SHARE * len(last) and sum(not ok for _, _, ok in seen) >= LEAST

    def opened(self, wait_s):
        self.wait_s = wait_s
        left_s = self.circuit.wait_left_s(self.now)
        assert wait_s / 2 <= left_s <= wait_s
        self.since = self.now + left_s

    @invariant()
    def it_lets_run_what_the_model_does(self):
        wanted = State.CLOSED if not self.wait_s else State.OPEN if self.now < self.since else State.HALF_OPEN
        assert self.circuit.state(self.now) is wanted
        assert self.circuit.places(8, self.now) == {State.CLOSED: 8, State.HALF_OPEN: 1, State.OPEN: 0}[wanted]


TestAnyCalls = AnyCalls.TestCase


@pytest.mark.expected_errors("circuit_opened")
def test_an_outage_is_told_once_and_excuses_what_failed_of_it_until_the_api_answers(capsys):
    registry, now = CollectorRegistry(), 0.0
    outages = Outages(WorkerMetrics(registry), monotonic=lambda: now, rng=random.Random(1))

    def gauge():
        return registry.get_sample_value("levelgate_circuit_open", {"dependency": "highlevel"})

    def ends(*, is_answered):
        outages.called(CallEnd(AppName("demo"), TenantId("location-1"), is_answered=is_answered, elapsed_s=0.0))

    assert (gauge(), outages.excuses(ApiUnavailable())) == (0, False)
    for _ in range(20):
        ends(is_answered=False)
    assert (gauge(), outages.is_open, outages.places(256)) == (1, True, 0)
    now = 1.0
    assert (gauge(), outages.is_open, outages.places(256)) == (1, False, 1)
    assert outages.excuses(ApiUnavailable())
    assert outages.excuses(RefreshFailed())
    assert not outages.excuses(ValueError())
    ends(is_answered=False)
    now = 10.0
    ends(is_answered=True)
    assert (gauge(), outages.is_under_way, outages.excuses(ApiUnavailable())) == (0, False, False)
