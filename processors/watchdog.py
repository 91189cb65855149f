"""Tells when nothing moves although there is work: the guard against a consumption that stops without an error.

Pure: the clock is passed in. What it is for was seen elsewhere: after a rebalance consumption stopped for good, no
error, lag growing (parallel-consumer #857, faust-streaming #175).
"""

from collections.abc import Iterable, Sequence
from enum import Enum
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


class Work(Enum):
    """What a worker should get on with."""

    JOINING = "joining"
    """Its group has given it no assignment."""
    CLAIMING = "claiming"
    """Of what it was assigned it has not taken everything over."""
    UNREAD = "unread"
    UNFINISHED = "unfinished"


class Standing(msgspec.Struct, frozen=True):
    """How things stand with a worker; `unread` and `unfinished` are deliveries of the numbers that it works on."""

    is_held: bool
    """Whether it must stand still: it stops, has not reached the broker yet, or Postgres or the API is down."""
    broker_answers: bool
    is_member: bool
    """Whether it has an assignment, of no partition too: there may be fewer of them than workers."""
    is_claiming: bool
    """Whether numbers are to be taken over, and neither Postgres nor the broker was seen to keep it from that."""
    unread: int
    unfinished: int

    @property
    def work(self) -> Work | None:
        """What should move now: nothing where others are down, since no restart of this worker would help."""
        if self.is_held:
            return None
        if self.unfinished:
            return Work.UNFINISHED
        if not self.broker_answers:
            return None
        if not self.is_member:
            return Work.JOINING
        if self.is_claiming:
            return Work.CLAIMING
        return Work.UNREAD if self.unread else None


class Stall(msgspec.Struct, frozen=True):
    """Nothing has moved for `for_s`; `longest` are the pairs that have run longest, the first of all first."""

    for_s: float
    work: Work
    longest: tuple[Running, ...]

    def fields(self, now: float) -> dict[str, Any]:
        """Return what to log: ids and times, no bodies."""
        return {
            "stalled_s": round(self.for_s, 1),
            "work": self.work.value,
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
    """Looks at a count of moves: deliveries read, deliveries finished, partition numbers taken over.

    Joining and claiming may take `rebalance_s`, even where `stalled_after_s` is less.
    """

    def __init__(self, *, stalled_after_s: float, rebalance_s: float, now: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._rebalance_s = rebalance_s
        self._moves = 0
        self._moved_at = now
        self.stalled_s = 0.0
        """For how long nothing has moved although there is work; 0 while all is well."""
        self.is_stalled = False
        """Whether it is time to say so."""

    def look(self, now: float, *, moves: int, standing: Standing, running: Iterable[Running]) -> Stall | None:
        """Take note of how things stand; return a report where nothing has moved for too long."""
        work = standing.work
        if moves != self._moves or work is None:
            self._moves, self._moved_at = moves, now
        self.stalled_s = now - self._moved_at
        is_in_rebalance = work in {Work.JOINING, Work.CLAIMING}
        patience_s = max(self._stalled_after_s, self._rebalance_s if is_in_rebalance else 0.0)
        self.is_stalled = work is not None and self.stalled_s >= patience_s
        return Stall(self.stalled_s, work, _longest(running)) if work is not None and self.is_stalled else None


def _longest(running: Iterable[Running]) -> tuple[Running, ...]:
    by_age: Sequence[Running] = sorted(running, key=lambda each: each.since)
    return tuple(by_age[:_LISTED])
