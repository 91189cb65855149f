"""The storm brake of one handler: whether it fails so much that it may not run. Pure: clock and chance are passed in.

    free ──so many runs of so many tenants failed──► braked ──its wait is over──► probing ──enough ended well──► free
                                                       ▲                             │
                                                       └──too many failed: longer wait

The share is of the window's runs and of the tenants that they were for: one tenant whose every event fails, however
many they are, does not stop the handler for the others. A tenant that is the only one to have runs may.

A run takes a turn before it begins; what it ends as counts only while the state is still the one that it began in: what
was in flight when the brake engaged tells nothing of the handler that probes try. Probes are judged by the same share
as runs are, so that a handler which always fails a little below it can be freed.
"""

import math
import random
from collections import deque
from enum import Enum

import msgspec

from schemas.settings import Worker

BUCKETS = 10
"""Of the sliding window: it moves on by a tenth of its length at a time, and takes the same memory at any load."""
SLOTS = 256
"""Tenants are told apart by these many numbers, a bit each, for the same reason; two of one number count as one."""
PROBES = 10
"""Runs that are tried before a braked handler is free again."""


class State(Enum):
    """What may run."""

    FREE = "free"
    BRAKED = "braked"
    PROBING = "probing"


class Turn(msgspec.Struct, frozen=True):
    """The right to run once; `era` says which state it was given in."""

    era: int


class Brake:
    """One handler's brake, by `worker.brake_…`; a share of 0 never brakes. Times by one monotonic clock, seconds."""

    def __init__(self, worker: Worker, rng: random.Random) -> None:
        self._share = worker.brake_share
        self._least_failures = worker.brake_least_failures
        self._first_wait_s = worker.brake_wait_s
        self._longest_wait_s = max(worker.brake_wait_s, worker.brake_max_wait_s)
        self._rng = rng
        self._window = _Window(worker.brake_window_s)
        self._wait_s = 0.0
        self._until = -math.inf
        self._era = 0
        self._probes = _Probes()

    def state(self, now: float) -> State:
        """Return the state at `now`; a braked handler comes to probing by time alone."""
        if not self._wait_s:
            return State.FREE
        return State.BRAKED if now < self._until else State.PROBING

    def begin(self, now: float) -> Turn | None:
        """Take a turn, None where the handler may not run; each turn is to be left."""
        match self.state(now):
            case State.BRAKED:
                return None
            case State.PROBING:
                if self._probes.running + self._probes.ended >= PROBES:
                    return None
                self._probes.running += 1
        return Turn(self._era)

    def leave(self, turn: Turn) -> None:
        """Give a turn back, however its run ended; one that is not noted makes room for another probe."""
        if self._wait_s and turn.era == self._era:
            self._probes.running -= 1

    def note(self, turn: Turn, *, slot: int, failed: bool, now: float) -> None:
        """Take note of how a run ended: done, or an attempt used up. One that waits is not noted.

        `slot` stands for its tenant, from 0 to below SLOTS.
        """
        if turn.era != self._era:
            return
        if not self._wait_s:
            self._window.add(now, slot=slot, failed=failed)
            if failed and self._is_bad(now):
                self._engage(self._first_wait_s, now)
            return
        self._probes.ended += 1
        self._probes.failed += failed
        if self._probes.failed >= self._share * PROBES:
            self._engage(min(self._longest_wait_s, self._wait_s * 2), now)
        elif self._probes.failed + PROBES - self._probes.ended < self._share * PROBES:
            self._free()

    def put_off_s(self, now: float) -> float:
        """Return in how long a pair that may not run now is to ask again: spread over one more wait."""
        return max(0.0, self._until - now) + self._rng.uniform(0, self._wait_s)

    def _is_bad(self, now: float) -> bool:
        if not self._share:
            return False
        seen = self._window.seen(now)
        is_share = seen.failures >= self._share * seen.runs
        is_share_of_tenants = seen.failed.bit_count() >= self._share * seen.ran.bit_count()
        return seen.failures >= self._least_failures and is_share and is_share_of_tenants

    def _engage(self, wait_s: float, now: float) -> None:
        self._wait_s = wait_s
        self._until = now + wait_s
        self._era += 1
        self._probes = _Probes()
        self._window.clear()

    def _free(self) -> None:
        self._wait_s = 0.0
        self._until = -math.inf
        self._era += 1


class _Probes(msgspec.Struct):
    running: int = 0
    ended: int = 0
    failed: int = 0


class _Bucket(msgspec.Struct):
    index: int = 0
    runs: int = 0
    failures: int = 0
    ran: int = 0
    """The slots that had runs, a bit each; `failed` those that had failures."""
    failed: int = 0

    def add(self, other: "_Bucket") -> None:
        self.runs += other.runs
        self.failures += other.failures
        self.ran |= other.ran
        self.failed |= other.failed


class _Window:
    """Runs and failures of the last so many seconds, to a tenth of it."""

    def __init__(self, window_s: float) -> None:
        self._width_s = window_s / BUCKETS
        self._buckets: deque[_Bucket] = deque(maxlen=BUCKETS)

    def add(self, now: float, *, slot: int, failed: bool) -> None:
        index = int(now // self._width_s)
        if not self._buckets or self._buckets[-1].index != index:
            self._buckets.append(_Bucket(index))
        bit = 1 << slot
        self._buckets[-1].add(_Bucket(0, 1, int(failed), bit, bit if failed else 0))

    def seen(self, now: float) -> _Bucket:
        oldest = int(now // self._width_s) - BUCKETS
        total = _Bucket()
        for bucket in self._buckets:
            if bucket.index > oldest:
                total.add(bucket)
        return total

    def clear(self) -> None:
        self._buckets.clear()
