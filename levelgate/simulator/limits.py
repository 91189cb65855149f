"""How many calls an app may make for a tenant: 100 in 10 seconds and 200,000 a day (facts.md, Rate limits).

Pure: the time is passed in. Windows are fixed and begin with the first call after the last one's end: whether the
vendor's slide, and when its day begins, is unknown.
"""

import msgspec

_DAY_S = 86_400


class Limits(msgspec.Struct, frozen=True):
    """What is allowed."""

    burst: int = 100
    interval_s: float = 10.0
    daily: int = 200_000


class _Window(msgspec.Struct):
    ends_at: float
    used: int = 0


class Budget(msgspec.Struct, frozen=True):
    """What a call found: whether it is allowed, and what is left after it."""

    allowed: bool
    limits: Limits
    remaining: int
    daily_remaining: int

    def headers(self) -> dict[str, str]:
        """Return the vendor's headers."""
        return {
            "X-RateLimit-Limit-Daily": str(self.limits.daily),
            "X-RateLimit-Daily-Remaining": str(self.daily_remaining),
            "X-RateLimit-Interval-Milliseconds": str(int(self.limits.interval_s * 1000)),
            "X-RateLimit-Max": str(self.limits.burst),
            "X-RateLimit-Remaining": str(self.remaining),
        }


class Meter:
    """Counts the calls of each (app, tenant)."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.refused = 0
        """How many calls were beyond the limits since the start."""
        self._windows: dict[tuple[str, str], tuple[_Window, _Window]] = {}

    def take(self, app: str, tenant: str, now: float) -> Budget:
        """Count one call at `now`; one that is refused uses nothing up."""
        burst, day = self._windows.get((app, tenant), (_Window(0), _Window(0)))
        if now >= burst.ends_at:
            burst = _Window(now + self.limits.interval_s)
        if now >= day.ends_at:
            day = _Window(now + _DAY_S)
        self._windows[app, tenant] = burst, day
        allowed = burst.used < self.limits.burst and day.used < self.limits.daily
        if allowed:
            burst.used += 1
            day.used += 1
        else:
            self.refused += 1
        return Budget(
            allowed, self.limits, max(0, self.limits.burst - burst.used), max(0, self.limits.daily - day.used)
        )
