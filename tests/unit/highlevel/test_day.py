"""A day's calls, whenever HighLevel's day begins: never more than allowed, never more than a lane's share."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.day import ASK_AGAIN_S, Day
from levelgate.highlevel.rate_limits import RateLimits

LIMIT = 20
SHARES = {"live": 20, "retry": 15, "replay": 5}
BELOW = {"live": ("live", "retry", "replay"), "retry": ("retry", "replay"), "replay": ("replay",)}
DAY_S = 86_400
LANE = st.sampled_from(["live", "retry", "replay"])


def spent(day, now, lane, count):
    """Spend what may be spent of `count` calls; return how many went out."""
    for made in range(count):
        if day.wait_s(now, lane) > 0:
            return made
        day.spend(now, lane)
    return count


@given(st.lists(st.tuples(st.integers(0, 4_000), LANE), min_size=40, max_size=120))
def test_no_24_hours_see_more_calls_than_allowed_or_than_a_lanes_share(steps):
    day, now, made = Day(LIMIT), 0, []
    for pause_s, lane in steps:
        now += pause_s
        if day.wait_s(now, lane) <= 0:
            day.spend(now, lane)
            made.append((now, lane))
    for at, _ in made:
        within = [lane for when, lane in made if at <= when < at + DAY_S]
        for lane, most in SHARES.items():
            assert sum(each in BELOW[lane] for each in within) <= most


def test_what_was_spent_counts_for_25_hours_at_the_most():
    day = Day(LIMIT)
    assert spent(day, 0.0, "live", 100) == LIMIT
    assert spent(day, DAY_S - 1.0, "live", 1) == 0
    assert spent(day, DAY_S + 3600.0, "live", 100) == LIMIT


def test_a_day_that_is_spent_by_our_own_count_is_asked_for_again_within_the_hour():
    day = Day(LIMIT)
    spent(day, 0.0, "live", LIMIT)
    assert day.wait_s(1.0, "live") == ASK_AGAIN_S
    assert day.wait_s(DAY_S + 3000.0, "live") == 600.0


def test_the_vendors_word_stands_above_our_own_count_and_below_a_lanes_share():
    day = Day(LIMIT)
    spent(day, 0.0, "replay", LIMIT)
    spent(day, 0.0, "live", LIMIT)
    day.heed(1.0, RateLimits(daily_remaining=7), in_flight=2)
    assert spent(day, 1.0, "replay", 1) == 0
    assert spent(day, 1.0, "live", 100) == 5
    assert day.wait_s(1.0, "live") == ASK_AGAIN_S


def test_a_word_holds_until_the_reset_that_it_names_and_then_nothing_is_known():
    day = Day(LIMIT)
    day.heed(0.0, RateLimits(daily_remaining=0, daily_reset=timedelta(minutes=5)), in_flight=0)
    assert (day.wait_s(1.0, "live"), day.is_known(1.0)) == (299.0, True)
    assert (day.wait_s(300.0, "live") <= 0, day.is_known(300.0)) == (True, False)


def test_the_vendors_own_limit_of_a_day_sets_the_shares():
    day = Day(LIMIT)
    day.heed(0.0, RateLimits(daily_limit=400, daily_remaining=400), in_flight=0)
    assert spent(day, 0.0, "replay", 500) == 100


@given(st.lists(st.tuples(st.integers(0, 9_000), LANE), max_size=60), st.integers(0, 100_000), LANE)
def test_the_next_owner_goes_on_where_the_last_one_stopped(steps, later_s, lane):
    former, new, now = Day(LIMIT), Day(LIMIT), 0
    for pause_s, each in steps:
        now += pause_s
        spent(former, now, each, 1)
    # The clocks of two processes have nothing in common.
    new.adopt(500_000.0, former.saved(now), is_told=False)
    assert new.wait_s(500_000.0 + later_s, lane) == former.wait_s(now + later_s, lane)


def test_who_has_a_tenant_again_believes_the_larger_count():
    day, other = Day(LIMIT), Day(LIMIT)
    spent(day, 0.0, "replay", 2)
    other.adopt(0.0, day.saved(0.0), is_told=False)
    spent(other, 0.0, "replay", 2)
    day.adopt(0.0, other.saved(0.0), is_told=False)
    assert spent(day, 0.0, "replay", 100) == 1
    day.adopt(0.0, other.saved(0.0), is_told=False)
    assert spent(day, 0.0, "replay", 100) == 0
