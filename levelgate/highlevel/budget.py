"""What may be called when: one app's calls for one tenant, within the vendor's limits.

Pure: the clock is passed in, in seconds. Exact while this process is the tenant's only spender, as the owner of its
partition is; the vendor's own count in each answer's headers corrects for others. Until an answer has told it, one
call goes out at a time. A call goes through a lane, and each lane has its share (`lanes`). Source: facts.md, Rate
limits: 100 calls in 10 s and 200,000 a day, by app and tenant.
"""

from bisect import bisect_right
from enum import Enum

import msgspec

from levelgate.highlevel.day import COUNTED_S, Day, SavedDay
from levelgate.highlevel.lanes import LANES, Lane, and_above, share_of
from levelgate.highlevel.rate_limits import RateLimits

_MARGIN_S = 0.25
"""Calls are counted where they arrive: two of them may be that much closer there than where they were sent."""


class Learning(Enum):
    """What `ask` answers while one call is out to learn what is left: ask again when it has been answered."""

    ONE_IS_OUT = "one is out"


class Allowance(msgspec.Struct, frozen=True):
    """What the vendor allows where its headers do not say otherwise."""

    calls: int = 100
    interval_s: float = 10.0
    daily_calls: int = 200_000

    def takes_s(self, calls: int, lane: Lane) -> float:
        """Return when the last of so many calls of `lane` may go out, in seconds, where nobody else spends.

        When a day's share is spent, it comes back as it was spent: hour by hour, a day later.
        """
        most, most_of_a_day = share_of(self.calls, lane), share_of(self.daily_calls, lane)
        interval_s = self.interval_s + _MARGIN_S
        days, rest = divmod(max(0, calls - 1), most_of_a_day)
        return days * max(COUNTED_S, most_of_a_day / most * interval_s) + rest // most * interval_s


class Saved(msgspec.Struct, frozen=True):
    """A budget as it is kept for the next owner; times are in seconds from then on."""

    limit: int
    interval_s: float
    left: int
    full_in_s: float
    """In how long none of the calls made so far counts any more; 0 or less: by now."""
    told_s_ago: float | None
    """How long ago the vendor told its limits; None: these are the settings'."""
    day: SavedDay


class Budget:
    """One app's and one tenant's."""

    def __init__(self, allowance: Allowance) -> None:
        self._limit = allowance.calls
        self._interval_s = allowance.interval_s
        # When calls were sent in the last interval, those of a lane together with those of the lanes below it.
        self._sent: dict[Lane, list[float]] = {lane: [] for lane in LANES}
        self._in_flight = 0
        self._is_told = False
        self._told_at: float | None = None
        self._left = allowance.calls
        self._left_until = float("-inf")
        self._day = Day(allowance.daily_calls)

    @property
    def is_in_flight(self) -> bool:
        """Whether a call that was let out has not ended."""
        return self._in_flight > 0

    @property
    def interval_s(self) -> float:
        """After how long without a call all of an interval's are left."""
        return self._interval_s + _MARGIN_S

    def wait_s(self, now: float, lane: Lane = "live") -> float | Learning:
        """Return 0 where a call of `lane` could go out, else how long to wait, in seconds; changes nothing."""
        wait_s = max(self._interval_wait_s(now, lane), self._day.wait_s(now, lane))
        if wait_s <= 0 and self._in_flight and not (self._is_told and self._day.is_known(now)):
            return Learning.ONE_IS_OUT
        return max(0.0, wait_s)

    def ask(self, now: float, lane: Lane = "live") -> float | Learning:
        """Return as `wait_s`; where that is 0 the call is counted, and must be `ended`."""
        wait_s = self.wait_s(now, lane)
        if wait_s == 0:
            for bound in and_above(lane):
                self._sent[bound].append(now)
            self._in_flight += 1
            self._left -= 1
            self._day.spend(now, lane)
        return wait_s

    def ended(self, now: float, limits: RateLimits | None, *, refused_for_s: float | None = None) -> None:
        """Note that a call has ended, with what its answer's headers say; None where there was none.

        `refused_for_s` is what a 429's Retry-After asks to wait: all of the tenant's calls do.
        """
        self._in_flight -= 1
        if limits is not None:
            self._is_told = True
            self._told_at = now
            if limits.limit:
                self._limit = limits.limit
            if limits.interval:
                self._interval_s = limits.interval.total_seconds()
            if limits.remaining is not None:
                self._heed(now, limits.remaining - self._in_flight, now + self.interval_s)
            self._day.heed(now, limits, self._in_flight)
        if refused_for_s is not None:
            self._left, self._left_until = 0, max(self._left_until, now + refused_for_s)

    def saved(self, now: float) -> Saved:
        """Return all that the next owner must know."""
        sent = self._sent["live"]
        self._forget(sent, now)
        left, full_at = self._limit - len(sent), sent[-1] + self.interval_s if sent else now
        if now < self._left_until:
            left, full_at = min(left, self._left), max(full_at, self._left_until)
        told_s_ago = None if self._told_at is None else now - self._told_at
        return Saved(self._limit, self._interval_s, max(0, left), full_at - now, told_s_ago, self._day.saved(now))

    def adopt(self, now: float, saved: Saved | None) -> None:
        """Begin as the tenant's new owner, with what the last one saved: one call goes out at a time again."""
        self._is_told = False
        if saved is None:
            return
        is_told = saved.told_s_ago is not None
        if saved.told_s_ago is not None:
            self._told_at = now - saved.told_s_ago
            self._limit, self._interval_s = saved.limit, saved.interval_s
        if saved.full_in_s > 0:
            self._heed(now, saved.left, now + saved.full_in_s)
            self._left_until = max(self._left_until, now + saved.full_in_s)
        self._day.adopt(now, saved.day, is_told=is_told)

    def _heed(self, now: float, left: int, until: float) -> None:
        """Never spend more than is said to be left, until its interval must be over."""
        if now >= self._left_until:
            self._left, self._left_until = left, until
        elif left < self._left:
            self._left = left

    def _interval_wait_s(self, now: float, lane: Lane) -> float:
        wait_s = self._left_until - now if self._left <= 0 else 0.0
        for bound in and_above(lane):
            sent = self._sent[bound]
            self._forget(sent, now)
            most = share_of(self._limit, bound)
            if len(sent) >= most:
                wait_s = max(wait_s, sent[-most] + self.interval_s - now)
        return wait_s

    def _forget(self, sent: list[float], now: float) -> None:
        del sent[: bisect_right(sent, now - self.interval_s)]
