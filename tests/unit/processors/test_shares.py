"""Shares of the lanes: by weight while all have work, nobody starves, caps hold."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.pairs import LIVE, lane_of
from processors.shares import WEIGHTS, Shares

LANES = sorted(WEIGHTS)


def starts(shares, rounds, ready=LANES):
    """Who started, where each start ends before the next one."""
    chosen: Counter[str] = Counter()
    for _ in range(rounds):
        lane = shares.choose(ready)
        shares.started(lane)
        shares.ended(lane)
        chosen[lane] += 1
    return chosen


@pytest.mark.parametrize(
    ("run", "was_parked", "lane"),
    [(LIVE, False, "live"), (LIVE, True, "retry"), ("replay-1", False, "replay"), ("replay-1", True, "replay")],
)
def test_all_of_a_replay_is_in_its_lane_and_of_live_work_what_comes_back_in_another(run, was_parked, lane):
    assert lane_of(run, was_parked=was_parked) == lane


@pytest.mark.parametrize("places", [1, 2, 256])
def test_lanes_that_always_have_work_start_by_their_weights(places):
    chosen = starts(Shares(places), 2100)

    for lane, weight in WEIGHTS.items():
        assert chosen[lane] == pytest.approx(100 * weight, abs=2)


def test_live_work_that_comes_after_a_long_replay_goes_first_and_waits_for_nothing():
    shares = Shares(10)
    starts(shares, 1000, ["replay"])

    assert starts(shares, 17, ["live", "replay"])["live"] == 16


def test_a_replay_that_comes_after_much_live_work_has_its_share_at_once_and_no_more():
    shares = Shares(10)
    starts(shares, 1000, ["live"])

    assert starts(shares, 170, ["live", "replay"])["replay"] == pytest.approx(10, abs=1)


def test_work_that_never_ends_leaves_places_to_the_lanes_above():
    shares = Shares(100)
    running: Counter[str] = Counter()
    while (lane := shares.choose(["retry", "replay"])) is not None:
        shares.started(lane)
        running[lane] += 1

    assert running == {"retry": 50, "replay": 25}
    assert shares.choose(["live", "retry", "replay"]) == "live"


@given(
    places=st.integers(1, 40),
    steps=st.lists(st.tuples(st.sets(st.sampled_from(LANES)), st.sampled_from([*LANES, None]))),
)
def test_whatever_comes_the_chosen_lane_is_ready_and_below_its_cap(places, steps):
    shares = Shares(places)
    running: Counter[str] = Counter()
    for ready, ending in steps:
        lane = shares.choose(ready)
        assert lane is None or lane in ready
        below = {"live": places, "retry": max(1, places // 2), "replay": max(1, places // 4)}
        if lane is None:
            assert all(running[each] == below[each] for each in ready)
        else:
            assert running[lane] < below[lane]
            shares.started(lane)
            running[lane] += 1
        if ending and running[ending]:
            shares.ended(ending)
            running[ending] -= 1
