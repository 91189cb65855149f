"""Which lane's work gets the next place: live before retries before replays, and none of them never.

Pure. By strides: each lane pays for a start in the inverse of its weight, and who has paid least goes first. A lane
that was idle joins where the others are: it neither catches up on what it did not ask for, nor waits. Caps keep
places free for the lanes above, however long the work of the lower ones takes.
"""

from collections import Counter
from collections.abc import Collection

from processors.pairs import Lane

WEIGHTS: dict[Lane, int] = {"live": 16, "retry": 4, "replay": 1}
"""Starts out of 21 while all three have work."""

_MOST: dict[Lane, float] = {"live": 1.0, "retry": 0.5, "replay": 0.25}
"""Of all places, how many a lane may have."""


class Shares:
    """The lanes of one worker with `places` in all."""

    def __init__(self, places: int) -> None:
        self._most = {lane: max(1, int(places * share)) for lane, share in _MOST.items()}
        self._paid: dict[Lane, float] = dict.fromkeys(WEIGHTS, 0.0)
        self._running: Counter[Lane] = Counter()
        self._asking: frozenset[Lane] = frozenset()

    def choose(self, ready: Collection[Lane]) -> Lane | None:
        """Return the lane, of those that have work to start, whose turn it is; None where each is at its cap."""
        level = min((self._paid[lane] for lane in self._asking), default=max(self._paid.values()))
        for lane in set(ready) - self._asking:
            self._paid[lane] = max(self._paid[lane], level)
        self._asking = frozenset(ready)
        open_to = [lane for lane in WEIGHTS if lane in ready and self._running[lane] < self._most[lane]]
        return min(open_to, key=lambda lane: self._paid[lane], default=None)

    def started(self, lane: Lane) -> None:
        """Note that work of a lane took a place."""
        self._running[lane] += 1
        self._paid[lane] += 1 / WEIGHTS[lane]

    def ended(self, lane: Lane) -> None:
        """Note that a place is free again."""
        self._running[lane] -= 1
