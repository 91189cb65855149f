"""Order and turns: one delivery of an entity at a time, turns between tenants, everything else at once.

Pure: no tasks, no clock, no I/O. A lane is what keeps order (an entity); a turn goes from tenant to
tenant, so that one tenant's flood does not delay another's single delivery that was already read. For the same
reason no tenant has more than so many works started at once, however long they take.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import msgspec

W = TypeVar("W")


class _Lane(msgspec.Struct, Generic[W]):
    waiting: deque[W]
    busy: bool = False


class Lanes(Generic[W]):
    """Work waiting for its turn; `take` starts one, `release` ends it."""

    def __init__(self, *, most_of_a_tenant: int) -> None:
        self._most_of_a_tenant = most_of_a_tenant
        self._started: Counter[Hashable] = Counter()
        self._lanes: dict[Hashable, _Lane[W]] = {}
        self._ready: OrderedDict[Hashable, deque[Hashable]] = OrderedDict()
        # Lanes that could start if their tenant had not as many started as it may.
        self._held_back: dict[Hashable, deque[Hashable]] = {}
        self._tenant_of: dict[Hashable, Hashable] = {}

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
        if len(entry.waiting) == 1 and not entry.busy:
            self._make_ready(lane)

    def take(self) -> tuple[Hashable, W] | None:
        """Start the first work of the next tenant's next lane: (lane, work); None where nothing may start."""
        if not self._ready:
            return None
        tenant, lanes = self._ready.popitem(last=False)
        lane = lanes.popleft()
        self._started[tenant] += 1
        if lanes:
            (self._ready if self._has_turns(tenant) else self._held_back)[tenant] = lanes
        entry = self._lanes[lane]
        entry.busy = True
        return lane, entry.waiting.popleft()

    def release(self, lane: Hashable) -> None:
        """End the started work of `lane`: its next work, if any, may take its turn."""
        entry = self._lanes[lane]
        entry.busy = False
        self._ended(self._tenant_of[lane])
        if entry.waiting:
            self._make_ready(lane)
        else:
            self._forget(lane)

    def discard(self, unwanted: Callable[[W], bool]) -> None:
        """Drop waiting work that `unwanted` names; started work is left to its owner."""
        for lane in list(self._lanes):
            self.withdraw(lane, unwanted)

    def waiting(self, lane: Hashable) -> Iterator[W]:
        """Go through the work that waits in `lane`, in order."""
        entry = self._lanes.get(lane)
        return iter(entry.waiting if entry else ())

    def withdraw(self, lane: Hashable, unwanted: Callable[[W], bool]) -> None:
        """Drop the work that waits in `lane` and that `unwanted` names: it takes no turn any more."""
        entry = self._lanes.get(lane)
        kept = deque(work for work in self.waiting(lane) if not unwanted(work))
        if entry is None or len(kept) == len(entry.waiting):
            return
        entry.waiting = kept
        if not kept and not entry.busy:
            self._unready(lane)
            self._forget(lane)

    def _has_turns(self, tenant: Hashable) -> bool:
        return self._started[tenant] < self._most_of_a_tenant

    def _ended(self, tenant: Hashable) -> None:
        self._started[tenant] -= 1
        if not self._started[tenant]:
            del self._started[tenant]
        if tenant in self._held_back:
            self._ready[tenant] = self._held_back.pop(tenant)

    def _make_ready(self, lane: Hashable) -> None:
        tenant = self._tenant_of[lane]
        (self._ready if self._has_turns(tenant) else self._held_back).setdefault(tenant, deque()).append(lane)

    def _unready(self, lane: Hashable) -> None:
        tenant = self._tenant_of[lane]
        waiting = self._ready if tenant in self._ready else self._held_back
        waiting[tenant].remove(lane)
        if not waiting[tenant]:
            del waiting[tenant]

    def _forget(self, lane: Hashable) -> None:
        del self._lanes[lane]
        del self._tenant_of[lane]
