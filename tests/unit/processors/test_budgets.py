"""What `levelgate budget show` makes of a row: what is over counts no more, and nothing is made up."""

from datetime import UTC, datetime, timedelta

import pytest

from processors.budgets import shown

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOON, BEFORE = NOW + timedelta(seconds=5), NOW - timedelta(seconds=5)


def row(**changes):
    return {
        "group_id": "levelgate",
        "interval_limit": 100,
        "interval_left": 3,
        "interval_until": SOON,
        "day_left": 17,
        "day_until": SOON,
        "day_spent": "[[3600.5,10,2,0],[0.5,1,0,4]]",
        "now": NOW,
    } | changes


def test_what_holds_is_shown_as_it_was_saved():
    told = shown(row())
    assert (told["interval_left"], told["interval_until"]) == (3, SOON)
    assert (told["day_left"], told["day_until"]) == (17, SOON)
    assert told["day_spent"] == {"live": 11, "retry": 2, "replay": 4}


def test_an_interval_that_is_over_is_full_again():
    told = shown(row(interval_until=BEFORE))
    assert (told["interval_left"], told["interval_until"]) == (100, None)


@pytest.mark.parametrize(("until", "left"), [(BEFORE, None), (None, 17)], ids=["told", "counted"])
def test_what_is_left_of_a_day_is_unknown_when_the_vendors_word_is_over(until, left):
    told = shown(row(day_until=until))
    assert (told["day_left"], told["day_until"]) == (left, None)
