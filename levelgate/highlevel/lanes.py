"""The lanes that a tenant's calls are spent through, and the share of them that each may have. Pure.

A share holds for its lane and the lanes below it together: so the lanes above always find the rest left, and where
retries and a replay both have much to do, live work still has a quarter for itself.
"""

from typing import Literal

Lane = Literal["live", "retry", "replay"]
"""First runs, parked pairs that come back, and all of a replay; the first is the highest."""

LANES: tuple[Lane, ...] = ("live", "retry", "replay")

SHARES: dict[Lane, float] = {"live": 1.0, "retry": 0.75, "replay": 0.25}
"""Of an interval's and of a day's calls."""


def share_of(calls: int, lane: Lane) -> int:
    """Return how many of `calls` a lane and those below it may have: one at least, or it would wait for ever."""
    return max(1, int(calls * SHARES[lane]))


def and_above(lane: Lane) -> tuple[Lane, ...]:
    """Return the lanes whose shares a call of `lane` is counted in: its own and those above it."""
    return LANES[: LANES.index(lane) + 1]


def and_below(lane: Lane) -> tuple[Lane, ...]:
    """Return the lanes that spend of a lane's share: itself and those below it."""
    return LANES[LANES.index(lane) :]
