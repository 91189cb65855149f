from hypothesis import given
from hypothesis import strategies as st

from levelgate.simulator.limits import Limits, Meter


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=30), st.sampled_from("ab")), max_size=200))
def test_no_tenant_ever_gets_more_than_its_share_of_a_window(steps):
    limits = Limits(burst=5, interval_s=10)
    meter = Meter(limits)
    now = 0.0
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for step, tenant in steps:
        now += step
        if meter.take("app", tenant, now).allowed:
            allowed[tenant].append(now)
    for times in allowed.values():
        # Windows are fixed: two of them touch at most, so any 10 seconds hold at most twice the share.
        for start in times:
            assert sum(start <= time < start + limits.interval_s for time in times) <= 2 * limits.burst


def test_what_is_left_is_counted_down_and_comes_back():
    meter = Meter(Limits(burst=2, interval_s=10, daily=3))
    budgets = [meter.take("app", "t", now) for now in (0, 1, 2, 10, 11)]
    assert [budget.allowed for budget in budgets] == [True, True, False, True, False]
    assert [budget.remaining for budget in budgets] == [1, 0, 0, 1, 1]
    assert [budget.daily_remaining for budget in budgets] == [2, 1, 1, 0, 0]
    assert meter.refused == 2


def test_two_apps_of_one_tenant_share_nothing():
    meter = Meter(Limits(burst=1))
    assert meter.take("one", "t", 0).allowed
    assert meter.take("other", "t", 0).allowed
