"""How fast a replay is published. Pure: the clock is handed in."""

_CATCH_UP_S = 0.05


class Pace:
    """So many a second, evenly; time in which nothing was sent is not made up for.

    But for a twentieth of a second: sleeps end late, and 1,000 a second would be 500 otherwise.
    """

    def __init__(self, rate: float) -> None:
        self._interval_s = 1 / rate
        self._next_at = float("-inf")

    def wait_s(self, now: float) -> float:
        """Return how long the next one has to wait; 0 or less: it may go."""
        return self._next_at - now

    def sent(self, now: float) -> None:
        """Take note that one went."""
        self._next_at = max(self._next_at, now - _CATCH_UP_S) + self._interval_s
