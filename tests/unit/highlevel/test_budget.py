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


def test_one_call_at_a_time_goes_out_when_the_vendors_word_about_its_day_is_over():
    budget = Budget(ALLOWANCE)
    budget.ask(0.0)
    budget.ended(0.0, RateLimits(remaining=4, daily_remaining=0, daily_reset=timedelta(minutes=5)))
    assert [budget.ask(300.0), budget.ask(300.0)] == [0, Learning.ONE_IS_OUT]


def test_what_a_429_asks_to_wait_holds_for_all_of_the_tenants_calls():
    budget = Budget(ALLOWANCE)
    budget.ask(0.0)
    budget.ended(0.0, None, refused_for_s=60.0)
    assert (budget.ask(1.0), budget.ask(61.0)) == (59.0, 0)


# Lanes: a share holds for its lane and those below it. Of 8 calls: live 8, retry 6, replay 2.

WIDE = Allowance(calls=8, interval_s=10.0)
MOST = {"live": 8, "retry": 6, "replay": 2}
BELOW = {"live": ("live", "retry", "replay"), "retry": ("retry", "replay"), "replay": ("replay",)}
LANE = st.sampled_from(["live", "retry", "replay"])
SAID = RateLimits(limit=8, interval=timedelta(seconds=10))
SAID_NOTHING = RateLimits()


@given(st.lists(st.tuples(st.floats(0, 4), LANE), max_size=120))
def test_no_lane_has_more_than_its_share_of_any_interval_and_all_that_is_left_of_it(steps):
    budget, now = Budget(WIDE), 0.0
    made: list[tuple[float, str]] = []
    for pause_s, lane in steps:
        now += pause_s
        # What counts against the lane: its own share, and those above it that it spends of too.
        lately = [each for at, each in made if at > now - 10.25]
        is_open = all(
            sum(each in BELOW[above] for each in lately) < MOST[above] for above in MOST if lane in BELOW[above]
        )
        assert (budget.wait_s(now, lane) == 0) is is_open
        assert (budget.ask(now, lane) == 0) is is_open
        if is_open:
            made.append((now, lane))
            budget.ended(now, SAID)


@given(
    st.builds(Allowance, calls=st.integers(1, 40), interval_s=st.floats(1, 60), daily_calls=st.integers(40, 400)),
    st.integers(0, 300),
    LANE,
)
def test_how_long_calls_will_take_is_what_they_take(allowance, calls, lane):
    budget, now = Budget(allowance), 0.0
    for _ in range(calls):
        while wait_s := budget.ask(now, lane):
            assert not isinstance(wait_s, Learning)
            now += wait_s + 1e-6
        budget.ended(now, SAID_NOTHING)
    assert abs(allowance.takes_s(calls, lane) - now) < 1


@given(st.lists(st.tuples(st.floats(0, 1), LANE, st.floats(0, 0.12)), max_size=120))
def test_lanes_together_are_never_refused(steps):
    vendor, budget, now = Vendor(), Budget(ALLOWANCE), 0.0
    for pause_s, lane, latency_s in steps:
        now += pause_s
        vendor.answer(budget, now)
        if budget.ask(now, lane) == 0:
            vendor.take(now, latency_s)
    assert vendor.meter.refused == 0


def test_asking_how_long_to_wait_spends_nothing():
    budget = Budget(ALLOWANCE)
    assert [budget.wait_s(0.0) for _ in range(10)] == [0] * 10
    assert budget.ask(0.0) == 0
    assert budget.wait_s(0.0) is Learning.ONE_IS_OUT


# Handover.


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.12), st.booleans()), max_size=120))
def test_owners_that_take_over_from_each_other_are_never_refused(steps):
    vendor, budget, now = Vendor(), Budget(ALLOWANCE), 0.0
    for pause_s, latency_s, is_handed_over in steps:
        now += pause_s
        vendor.answer(budget, now)
        if is_handed_over and not vendor.on_their_way:
            former, budget = budget, Budget(ALLOWANCE)
            budget.adopt(now, former.saved(now))
        if budget.ask(now) == 0:
            vendor.take(now, latency_s)
    assert vendor.meter.refused == 0


def test_a_new_owner_lets_one_call_out_at_a_time_however_fresh_the_row_and_waits_where_nothing_is_left():
    former = Budget(ALLOWANCE)
    for _ in range(3):
        former.ask(0.0)
        former.ended(0.0, RateLimits(limit=5, remaining=5))
    new = Budget(ALLOWANCE)
    new.adopt(1000.0, former.saved(1.0))
    assert [new.ask(1000.0), new.ask(1000.0)] == [0, Learning.ONE_IS_OUT]
    new.ended(1000.0, None)
    assert [new.ask(1000.0), new.ask(1000.0)] == [0, 9.25]


def test_a_stale_row_holds_nobody_up_but_its_limits_are_heeded():
    former = Budget(Allowance(calls=100, interval_s=10.0))
    former.ask(0.0)
    former.ended(0.0, RateLimits(limit=2, remaining=0, interval=timedelta(seconds=30)))
    new = Budget(Allowance(calls=100, interval_s=10.0))
    new.adopt(5.0, former.saved(100.0))
    for _ in range(2):
        assert new.ask(5.0) == 0
        new.ended(5.0, None)
    assert new.ask(5.0) == 30.25
