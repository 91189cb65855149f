"""Tells when nothing moves although there is work: the guard against a consumption that stops without an error.

Pure: the clock is passed in. What it is for was seen elsewhere: after a rebalance consumption stopped for good, no
error, lag growing (parallel-consumer #857, faust-streaming #175).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from processors.pairs import Pair

_LISTED = 10


class Running(msgspec.Struct, frozen=True):
    """A pair whose handler runs: of which entity, since when by the monotonic clock."""

    pair: Pair
    type: str
    entity: str
    since: float


class Stall(msgspec.Struct, frozen=True):
    """Nothing has moved for `for_s`; `longest` are the pairs that have run longest, the first of all first."""

    for_s: float
    longest: tuple[Running, ...]

    def fields(self, now: float) -> dict[str, Any]:
        """Return what to log: ids and times, no bodies."""
        return {
            "stalled_s": round(self.for_s, 1),
            "running": [
                {
                    "handler": each.pair.handler,
                    "type": each.type,
                    "entity": each.entity,
                    "tenant": each.pair.tenant,
                    "delivery": each.pair.delivery,
                    "for_s": round(now - each.since, 1),
                }
                for each in self.longest
            ],
        }


class Watchdog:
    """Looks at a count of moves: deliveries read, and deliveries finished."""

    def __init__(self, *, stalled_after_s: float, now: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._moves = 0
        self._moved_at = now
        self.stalled_s = 0.0
        """For how long nothing has moved although there is work; 0 while all is well."""

    @property
    def is_stalled(self) -> bool:
        """Whether it is time to say so."""
        return self.stalled_s >= self._stalled_after_s

    def look(self, now: float, *, moves: int, has_work: bool, running: Iterable[Running]) -> Stall | None:
        """Take note of how things stand; return a report where nothing has moved for too long."""
        if moves != self._moves or not has_work:
            self._moves, self._moved_at = moves, now
        self.stalled_s = now - self._moved_at
        return Stall(self.stalled_s, _longest(running)) if self.is_stalled else None


def _longest(running: Iterable[Running]) -> tuple[Running, ...]:
    by_age: Sequence[Running] = sorted(running, key=lambda each: each.since)
    return tuple(by_age[:_LISTED])
