"""The simulator's time: the system's, plus what a test has moved it by. Never sleeps."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Seconds since 1970 that can be moved forward; all lifetimes in the simulator are measured by it."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset_s = 0.0

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return self._source() + self._offset_s

    def move(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self._offset_s += seconds

    def iso(self) -> str:
        """Return the time as the vendor writes it: ISO 8601, milliseconds, `Z`."""
        return iso(self.now())


def iso(seconds: float) -> str:
    """Return `seconds` since 1970 as ISO 8601 with milliseconds and `Z`."""
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(date: object) -> int:
    """Return an ISO date of an entity as milliseconds since 1970; 0 where it is no date."""
    if not isinstance(date, str):
        return 0
    try:
        parsed = datetime.fromisoformat(date)
    except ValueError:
        return 0
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
