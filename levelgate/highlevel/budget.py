"""What may be called when: one app's calls for one tenant, within the vendor's limits.

Pure: the clock is passed in, in seconds. Exact while this process is the tenant's only spender, as the owner of its
partition is; the vendor's own count in each answer's headers corrects for others. Until an answer has told it, one
call goes out at a time. Source: facts.md, Rate limits: 100 calls in 10 s and 200,000 a day, by app and tenant.
"""

from collections import deque
from enum import Enum

import msgspec

from levelgate.highlevel.rate_limits import RateLimits

_MARGIN_S = 0.25
"""Calls are counted where they arrive: two of them may be that much closer there than where they were sent."""

_UNKNOWN_RESET_S = 3600.0
"""When the vendor's day starts is unknown: without its word, ask again in an hour."""


class Learning(Enum):
    """What `ask` answers while one call is out to learn what is left: ask again when it has been answered."""

    ONE_IS_OUT = "one is out"


class Allowance(msgspec.Struct, frozen=True):
    """What the vendor allows where its headers do not say otherwise."""

    calls: int = 100
    interval_s: float = 10.0


class Budget:
    """One app's and one tenant's."""

    def __init__(self, allowance: Allowance) -> None:
        self._limit = allowance.calls
        self._interval_s = allowance.interval_s
        self._sent: deque[float] = deque()
        self._in_flight = 0
        self._is_told = False
        self._left = allowance.calls
        self._left_until = float("-inf")
        self._daily_left: int | None = None
        self._daily_until = float("-inf")

    def ask(self, now: float) -> float | Learning:
        """Return 0 where a call may go out, which is then counted and must be `ended`; else how long to wait, in s."""
        if not self._is_told and self._in_flight:
            return Learning.ONE_IS_OUT
        wait_s = self._wait_s(now)
        if wait_s <= 0:
            self._sent.append(now)
            self._in_flight += 1
            self._left -= 1
            if self._daily_left is not None:
                self._daily_left -= 1
        return max(0.0, wait_s)

    def ended(self, now: float, limits: RateLimits | None) -> None:
        """Note that a call has ended, with what its answer's headers say; None where there was none."""
        self._in_flight -= 1
        if limits is None:
            return
        self._is_told = True
        if limits.limit:
            self._limit = limits.limit
        if limits.interval:
            self._interval_s = limits.interval.total_seconds()
        if limits.remaining is not None:
            self._heed(now, limits.remaining - self._in_flight)
        if limits.daily_remaining is not None:
            self._daily_left = limits.daily_remaining - self._in_flight
            reset = limits.daily_reset
            self._daily_until = now + (reset.total_seconds() if reset else _UNKNOWN_RESET_S)

    def _heed(self, now: float, left: int) -> None:
        """Never spend more than the vendor says is left, until its interval must be over."""
        if now >= self._left_until:
            self._left, self._left_until = left, now + self._interval_s + _MARGIN_S
        elif left < self._left:
            self._left = left

    def _wait_s(self, now: float) -> float:
        while self._sent and self._sent[0] <= now - self._interval_s - _MARGIN_S:
            self._sent.popleft()
        waits = [0.0]
        if len(self._sent) >= self._limit:
            waits.append(self._sent[0] + self._interval_s + _MARGIN_S - now)
        if self._left <= 0 and now < self._left_until:
            waits.append(self._left_until - now)
        if self._daily_left is not None and self._daily_left <= 0 and now < self._daily_until:
            waits.append(self._daily_until - now)
        return max(waits)
