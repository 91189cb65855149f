"""The budget against the simulator's count of calls: no avoidable 429, and no call held back for ever."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.budget import Allowance, Budget, Learning
from levelgate.highlevel.rate_limits import RateLimits, rate_limits
from levelgate.simulator.limits import Limits, Meter

LIMITS = Limits(burst=5, interval_s=10.0, daily=1000)
ALLOWANCE = Allowance(calls=5, interval_s=10.0)


class Vendor:
    """Counts what arrives, a latency after it was sent, and answers as long again after that."""

    def __init__(self) -> None:
        self.meter = Meter(LIMITS)
        self.on_their_way: list[tuple[float, RateLimits | None]] = []

    def take(self, sent_at, latency_s):
        found = self.meter.take("demo", "location-1", sent_at + latency_s)
        self.on_their_way.append((sent_at + 2 * latency_s, rate_limits(found.headers())))

    def answer(self, budget, now):
        for arrival in sorted((a for a in self.on_their_way if a[0] <= now), key=lambda a: a[0]):
            self.on_their_way.remove(arrival)
            budget.ended(*arrival)


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 0.12)), max_size=80))
def test_a_tenants_only_spender_is_never_refused(steps):
    vendor, budget, now = Vendor(), Budget(ALLOWANCE), 0.0
    for pause_s, latency_s in steps:
        now += pause_s
        vendor.answer(budget, now)
        if budget.ask(now) == 0:
            vendor.take(now, latency_s)
    assert vendor.meter.refused == 0


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60), st.integers(0, 5))
def test_a_new_owner_heeds_what_others_have_spent_before(pauses, spent):
    vendor, budget, now = Vendor(), Budget(ALLOWANCE), 100.0
    for _ in range(spent):
        vendor.meter.take("demo", "location-1", now)
    for pause_s in pauses:
        now += pause_s
        vendor.answer(budget, now)
        if budget.ask(now) == 0:
            vendor.take(now, 0.0)
    # The first call is how it learns; where all was spent, that one is refused.
    assert vendor.meter.refused <= 1


@given(st.lists(st.floats(0, 12), min_size=1, max_size=60))
def test_what_is_told_to_wait_may_go_out_after_that_time(pauses):
    budget, now = Budget(ALLOWANCE), 0.0
    for pause_s in pauses:
        now += pause_s
        wait_s = budget.ask(now)
        assert not isinstance(wait_s, Learning)
        if wait_s > 0:
            now += wait_s + 1e-6
            assert budget.ask(now) == 0
        budget.ended(now, RateLimits(limit=5, interval=timedelta(seconds=10)))


def test_one_call_at_a_time_goes_out_until_an_answer_has_told_what_is_left():
    budget = Budget(ALLOWANCE)
    assert budget.ask(0.0) == 0
    assert budget.ask(0.0) is Learning.ONE_IS_OUT
    budget.ended(0.1, None)
    assert budget.ask(0.1) == 0
    budget.ended(0.2, RateLimits(remaining=3))
    assert [budget.ask(0.2) for _ in range(4)][:3] == [0, 0, 0]


def test_a_spent_day_waits_until_the_vendor_says_it_begins_anew():
    budget = Budget(ALLOWANCE)
    budget.ask(0.0)
    budget.ended(0.0, RateLimits(remaining=4, daily_remaining=0, daily_reset=timedelta(minutes=5)))
    assert budget.ask(1.0) == 299.0
    assert budget.ask(300.0) == 0
