"""What is left of a day's calls, by the vendor's word, else by our own count; and the lanes' shares of a day.

Pure: the clock is passed in, in seconds. When the vendor's day begins is unknown (facts.md §3), so our own count is of
the last 24 hours, whenever they began: whichever day the vendor counts by, no more calls than allowed fall into it. It
is kept in buckets of an hour, and a bucket counts until its last call must be a day old.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from levelgate.highlevel.lanes import LANES, Lane, and_above, and_below, share_of
from levelgate.highlevel.rate_limits import RateLimits

_BUCKET_S = 3600.0
_DAY_S = 86_400.0

COUNTED_S = _BUCKET_S + _DAY_S
"""For how long an hour's calls are counted, from its first one on."""

ASK_AGAIN_S = 3600.0
"""For how long a word of the vendor's about its day holds where it does not say when that ends; and the longest wait
for our own count, so that a limit that was raised is found out."""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """The calls of an hour that began `age_s` ago, by lane."""

    age_s: float
    live: int
    retry: int
    replay: int


class SavedDay(msgspec.Struct, frozen=True):
    """A day as it is kept for the next owner; times are in seconds from then on."""

    limit: int
    left: int
    until_s: float | None
    """For how long the vendor's word holds, negative where it is over; None: `left` is our own count's."""
    spent: tuple[Spent, ...]


class _Bucket(msgspec.Struct):
    since: float
    calls: Counter[Lane]


class Day:
    """One app's and one tenant's."""

    def __init__(self, calls: int) -> None:
        self._limit = calls
        self._left: int | None = None
        self._until = float("-inf")
        self._buckets: list[_Bucket] = []

    def is_known(self, now: float) -> bool:
        """Whether what is left is known; not where the vendor's last word about it is over."""
        return self._left is None or now < self._until

    def wait_s(self, now: float, lane: Lane) -> float:
        """Return how long a call of `lane` has to wait for its day, in seconds; 0 or less: not at all."""
        self._forget(now)
        wait_s = 0.0
        if self._left is not None and self._left <= 0:
            wait_s = self._until - now
        for bound in and_above(lane):
            # Where the vendor tells what is left, its count is of all spenders, and better than ours.
            if (bound != "live" or self._left is None) and self._count(bound) >= share_of(self._limit, bound):
                wait_s = max(wait_s, min(ASK_AGAIN_S, self._buckets[0].since + COUNTED_S - now))
        return wait_s

    def spend(self, now: float, lane: Lane) -> None:
        """Count one call."""
        if not self._buckets or now >= self._buckets[-1].since + _BUCKET_S:
            self._buckets.append(_Bucket(now, Counter()))
        self._buckets[-1].calls[lane] += 1
        if self._left is not None:
            self._left -= 1

    def heed(self, now: float, limits: RateLimits, in_flight: int) -> None:
        """Take the word of an answer's headers; `in_flight` calls may not be counted in it yet."""
        if limits.daily_limit:
            self._limit = limits.daily_limit
        if limits.daily_remaining is None:
            self._left = None
            return
        self._left = limits.daily_remaining - in_flight
        self._until = now + (limits.daily_reset.total_seconds() if limits.daily_reset else ASK_AGAIN_S)

    def saved(self, now: float) -> SavedDay:
        """Return all of it for the next owner."""
        self._forget(now)
        spent = tuple(Spent(now - b.since, *(b.calls[lane] for lane in LANES)) for b in self._buckets)
        if self._left is None:
            return SavedDay(self._limit, max(0, self._limit - self._count("live")), None, spent)
        return SavedDay(self._limit, max(0, self._left), self._until - now, spent)

    def adopt(self, now: float, saved: SavedDay, *, is_told: bool) -> None:
        """Go on where another owner stopped; with `is_told` its limit is the vendor's."""
        if is_told:
            self._limit = saved.limit
        if saved.until_s is not None:
            self._left, self._until = saved.left, now + saved.until_s
        # A worker that gave the tenant away and has it again has counted a part of the same calls.
        if sum(spent.live + spent.retry + spent.replay for spent in saved.spent) > self._count("live"):
            self._buckets = _buckets(now, saved.spent)

    def _count(self, lane: Lane) -> int:
        return sum(bucket.calls[each] for bucket in self._buckets for each in and_below(lane))

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0].since + COUNTED_S <= now:
            del self._buckets[0]


def _buckets(now: float, spent: Sequence[Spent]) -> list[_Bucket]:
    return [_Bucket(now - s.age_s, Counter({"live": s.live, "retry": s.retry, "replay": s.replay})) for s in spent]
