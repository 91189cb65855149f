"""What an answer's headers say of the vendor's limits, and how long a 429 asks to wait.

Pure: `now` is passed in. Source: facts.md, Rate limits; the body of a 429 and its Retry-After are undocumented.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

_INTERVAL = timedelta(seconds=10)
"""Where an answer names none."""
_LONGEST_WAIT = timedelta(days=1)
"""The longest window the vendor has; a longer wait is a mistake of somebody's clock."""

_WHOLE_NUMBER = re.compile(r"\d{1,15}", re.ASCII)


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's own count for one app and one tenant, at the time of one answer; None: not said."""

    limit: int | None = None
    """Calls per interval."""
    remaining: int | None = None
    interval: timedelta | None = None
    daily_limit: int | None = None
    daily_remaining: int | None = None
    daily_reset: timedelta | None = None
    """Until the daily count starts anew."""


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """Return what the headers (of any case-insensitive mapping) say, or None where they say nothing."""
    limits = RateLimits(
        limit=_number(headers, "X-RateLimit-Max"),
        remaining=_number(headers, "X-RateLimit-Remaining"),
        interval=_milliseconds(headers, "X-RateLimit-Interval-Milliseconds"),
        daily_limit=_number(headers, "X-RateLimit-Limit-Daily"),
        daily_remaining=_number(headers, "X-RateLimit-Daily-Remaining"),
        daily_reset=_milliseconds(headers, "X-RateLimit-Daily-Reset"),
    )
    return None if limits == _NOTHING else limits


_NOTHING = RateLimits()


def wait_after_429(headers: Mapping[str, str], *, now: datetime) -> timedelta:
    """Return how long to wait: Retry-After where it is there, else what the limits let guess."""
    named = retry_after(headers, now=now)
    if named is not None:
        return named
    limits = rate_limits(headers) or _NOTHING
    if limits.daily_remaining == 0:
        # When the vendor's day starts is unknown: without its word, ask again in an hour.
        return min(limits.daily_reset or timedelta(hours=1), _LONGEST_WAIT)
    return min(limits.interval or _INTERVAL, _LONGEST_WAIT)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Return Retry-After, given in seconds or as an HTTP date, between nothing and a day; None where unusable."""
    text = headers.get("Retry-After", "").strip()
    if _WHOLE_NUMBER.fullmatch(text):
        return min(timedelta(seconds=min(int(text), 86400)), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
        wait = at.replace(tzinfo=at.tzinfo or UTC) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return max(timedelta(0), min(wait, _LONGEST_WAIT))


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


def _milliseconds(headers: Mapping[str, str], name: str) -> timedelta | None:
    number = _number(headers, name)
    return None if number is None else min(timedelta(milliseconds=number), _LONGEST_WAIT)
