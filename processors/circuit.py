"""The circuit: whether the vendor's API fails for everyone, by how calls ended. Pure: clock and chance are passed in.

    closed ──almost all tenants' last calls failed──► open ──its wait is over──► half-open ──a call answered──► closed
                                                       ▲                            │
                                                       └──a call failed: longer wait┘

A call that began before the circuit last closed, or before its wait was over, tells nothing any more.
"""

import itertools
import math
import random
from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum

import msgspec


class State(Enum):
    """How much may run."""

    CLOSED = "closed"
    """All is well: everything."""
    OPEN = "open"
    """Nothing, for a while."""
    HALF_OPEN = "half_open"
    """One thing at a time, until a call tells how things are."""


class _Last(msgspec.Struct, frozen=True):
    at: float
    ok: bool


class Circuit:
    """Opens when `share` of the tenants that called within `window_s` have a failed last call, and so many failed.

    One tenant that fails among others that do not never opens it; a tenant that is the only one to call may.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        window_s: float = 20.0,
        share: float = 0.9,
        least_failures: int = 5,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 30.0,
    ) -> None:
        self._rng = rng
        self._window_s = window_s
        self._share = share
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        # Oldest first: what leaves the window leaves from the front. Of failures only the last few matter.
        self._last: OrderedDict[Hashable, _Last] = OrderedDict()
        self._failing = 0
        self._failures: deque[float] = deque(maxlen=least_failures)
        self._wait_s = 0.0
        self._until = -math.inf
        self._since = -math.inf

    def state(self, now: float) -> State:
        """Return the state at `now`; an open circuit becomes half-open by time alone."""
        if not self._wait_s:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    def places(self, concurrency: int, now: float) -> int:
        """Return how many deliveries may run at once: all of `concurrency`, one, or none."""
        match self.state(now):
            case State.CLOSED:
                return concurrency
            case State.HALF_OPEN:
                return min(1, concurrency)
            case State.OPEN:
                return 0

    def wait_left_s(self, now: float) -> float:
        """Return for how long nothing may run."""
        return max(0.0, self._until - now) if self._wait_s else 0.0

    def note(self, tenant: Hashable, *, ok: bool, began: float, now: float) -> None:
        """Take note of a call that began at `began` and ended now; `ok`: the vendor answered, whatever it said."""
        if began < self._since:
            return
        if not self._wait_s:
            self._remember(tenant, _Last(now, ok))
            if not ok and self._is_bad(now):
                self._open(now, self._first_wait_s)
        elif ok:
            self._close(now)
        else:
            self._open(now, min(self._longest_wait_s, self._wait_s * 2))

    def _remember(self, tenant: Hashable, call: _Last) -> None:
        self._forget(tenant)
        self._last[tenant] = call
        if not call.ok:
            self._failing += 1
            self._failures.append(call.at)

    def _forget(self, tenant: Hashable) -> None:
        before = self._last.pop(tenant, None)
        self._failing -= before is not None and not before.ok

    def _is_bad(self, now: float) -> bool:
        oldest = now - self._window_s
        for tenant in [*itertools.takewhile(lambda each: self._last[each].at < oldest, self._last)]:
            self._forget(tenant)
        enough = len(self._failures) == self._failures.maxlen and self._failures[0] >= oldest
        return enough and self._failing >= self._share * len(self._last)

    def _open(self, now: float, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since = self._until = now + self._rng.uniform(wait_s / 2, wait_s)

    def _close(self, now: float) -> None:
        self._wait_s = 0.0
        self._since = now
        self._last.clear()
        self._failing = 0
        self._failures.clear()
