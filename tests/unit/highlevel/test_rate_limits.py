"""Headers of limits: what is said is remembered, what is not said is not made up, and no wait is absurd."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from levelgate.highlevel.rate_limits import RateLimits, rate_limits, retry_after, wait_after_429

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NAMES = [
    "Retry-After",
    "X-RateLimit-Max",
    "X-RateLimit-Remaining",
    "X-RateLimit-Interval-Milliseconds",
    "X-RateLimit-Limit-Daily",
    "X-RateLimit-Daily-Remaining",
    "X-RateLimit-Daily-Reset",
]


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_the_documented_headers_are_remembered():
    headers = CIMultiDict(
        {
            "x-ratelimit-limit-daily": "200000",
            "x-ratelimit-daily-remaining": "199999",
            "x-ratelimit-interval-milliseconds": "10000",
            "x-ratelimit-max": "100",
            "x-ratelimit-remaining": "99",
        }
    )
    assert rate_limits(headers) == RateLimits(
        limit=100, remaining=99, interval=seconds(10), daily_limit=200_000, daily_remaining=199_999
    )


def test_without_headers_nothing_is_known():
    assert rate_limits({}) is None


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", seconds(7)),
        (" 7 ", seconds(7)),
        ("0", seconds(0)),
        ("99999999999", timedelta(days=1)),
        (format_datetime(NOW + seconds(90), usegmt=True), seconds(90)),
        (format_datetime(NOW - seconds(90), usegmt=True), seconds(0)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, wait):
    assert retry_after({"Retry-After": text}, now=NOW) == wait


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "3", "X-RateLimit-Daily-Remaining": "0"}, seconds(3)),
        ({"X-RateLimit-Daily-Remaining": "0", "X-RateLimit-Daily-Reset": "60000"}, seconds(60)),
        ({"X-RateLimit-Daily-Remaining": "0"}, timedelta(hours=1)),
        ({"X-RateLimit-Interval-Milliseconds": "5000", "X-RateLimit-Daily-Remaining": "1"}, seconds(5)),
        ({}, seconds(10)),
    ],
)
def test_a_429_waits_as_long_as_the_vendor_says_or_lets_guess(headers, wait):
    assert wait_after_429(headers, now=NOW) == wait


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.from_regex(r"-?\d{1,30}")))
def test_no_header_text_breaks_it_or_makes_it_wait_for_ever(headers):
    assert seconds(0) <= wait_after_429(headers, now=NOW) <= timedelta(days=1)
