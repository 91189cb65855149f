"""Order and turns: one delivery of an entity at a time, turns between tenants, everything else at once.

Pure: no tasks, no clock, no I/O. A lane is what keeps order (an entity); a turn goes from tenant to
tenant, so that one tenant's flood does not delay another's single delivery that was already read.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import msgspec

W = TypeVar("W")


class _Lane(msgspec.Struct, Generic[W]):
    waiting: deque[W]
    busy: bool = False


class Lanes(Generic[W]):
    """Work waiting for its turn; `take` starts one, `release` ends it."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane[W]] = {}
        self._ready: OrderedDict[Hashable, deque[Hashable]] = OrderedDict()
        self._tenant_of: dict[Hashable, Hashable] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How much work waits, started work not counted."""
        return self._waiting

    @property
    def is_ready(self) -> bool:
        """Whether something may start."""
        return bool(self._ready)

    def add(self, work: W, *, lane: Hashable, tenant: Hashable) -> None:
        """Queue `work` behind what its lane holds already."""
        entry = self._lanes.get(lane)
        if entry is None:
            entry = self._lanes[lane] = _Lane(deque())
            self._tenant_of[lane] = tenant
        entry.waiting.append(work)
        self._waiting += 1
        if len(entry.waiting) == 1 and not entry.busy:
            self._make_ready(lane)

    def take(self) -> tuple[Hashable, W] | None:
        """Start the first work of the next tenant's next lane: (lane, work); None where nothing may start."""
        if not self._ready:
            return None
        tenant, lanes = next(iter(self._ready.items()))
        lane = lanes.popleft()
        if lanes:
            self._ready.move_to_end(tenant)
        else:
            del self._ready[tenant]
        entry = self._lanes[lane]
        entry.busy = True
        self._waiting -= 1
        return lane, entry.waiting.popleft()

    def release(self, lane: Hashable) -> None:
        """End the started work of `lane`: its next work, if any, may take its turn."""
        entry = self._lanes[lane]
        entry.busy = False
        if entry.waiting:
            self._make_ready(lane)
        else:
            self._forget(lane)

    def discard(self, unwanted: Callable[[W], bool]) -> None:
        """Drop waiting work that `unwanted` names; started work is left to its owner."""
        for lane, entry in list(self._lanes.items()):
            kept = deque(work for work in entry.waiting if not unwanted(work))
            if len(kept) == len(entry.waiting):
                continue
            self._waiting -= len(entry.waiting) - len(kept)
            entry.waiting = kept
            if not kept and not entry.busy:
                self._unready(lane)
                self._forget(lane)

    def __iter__(self) -> Iterator[W]:
        """Go through all waiting work, in no order."""
        return (work for entry in self._lanes.values() for work in entry.waiting)

    def _make_ready(self, lane: Hashable) -> None:
        self._ready.setdefault(self._tenant_of[lane], deque()).append(lane)

    def _unready(self, lane: Hashable) -> None:
        tenant = self._tenant_of[lane]
        lanes = self._ready[tenant]
        lanes.remove(lane)
        if not lanes:
            del self._ready[tenant]

    def _forget(self, lane: Hashable) -> None:
        del self._lanes[lane]
        del self._tenant_of[lane]
