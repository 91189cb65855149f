"""The budgets of one process: found, taken over from their last owner, kept for the next one, and forgotten.

Knows no table: what reads and keeps the saved ones is handed in.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec

from levelgate.highlevel.budget import Allowance, Budget, Learning, Saved
from levelgate.highlevel.day import ASK_AGAIN_S
from levelgate.highlevel.lanes import Lane
from levelgate.highlevel.rate_limits import rate_limits, retry_after
from levelgate.highlevel.wire import Answer
from schemas.ids import AppName, TenantId
from schemas.settings import Vendor

Whose = tuple[AppName, TenantId]

Load = Callable[[AppName, TenantId], Awaitable[Saved | None]]
"""Returns what was last saved of a budget; None where nothing was, or nothing can be read."""

LEARNING_S = 5.0
"""How long a call may wait, in its place, for another one's answer to tell what is left: answers take less, and where
none comes for anybody, the worker shall not park what it could not call for before it knows of the outage."""

SOON_S = 1.0
"""When it is worth asking again then."""

_MOST = 5_000
"""Budgets kept while they are idle: a few kB each."""


async def _nothing_saved(_app: AppName, _tenant: TenantId) -> Saved | None:
    """Know nothing."""
    return None


def allowance(vendor: Vendor) -> Allowance:
    """Return what the settings allow until the vendor tells otherwise."""
    return Allowance(vendor.burst_calls, vendor.burst_interval_s, vendor.daily_calls)


class Change(msgspec.Struct, frozen=True):
    """A budget that is to be saved, as it is now."""

    whose: Whose
    saved: Saved
    version: int


class Spending:
    """One tenant's budget, and those who wait while one call is out to learn it."""

    def __init__(self, allowance: Allowance, monotonic: Callable[[], float]) -> None:
        self.budget = Budget(allowance)
        self.taken_over = 0
        """At which of the process's claims it was taken over; 0: not yet."""
        self.taking_over = asyncio.Lock()
        self.version = 0
        self.saved_version = 0
        self._monotonic = monotonic
        self._used_at = monotonic()
        self._told = asyncio.Event()

    async def ask(self, lane: Lane) -> float:
        """Return 0 where a call may go out now, which must be `ended`; else how long to wait, in seconds."""
        answer = self.budget.ask(self._now(), lane)
        if isinstance(answer, Learning):
            try:
                async with asyncio.timeout(LEARNING_S):
                    answer = await self._ask_when_told(lane)
            except TimeoutError:
                return SOON_S
        if answer == 0:
            self.version += 1
        return answer

    async def _ask_when_told(self, lane: Lane) -> float:
        while True:
            self._told.clear()
            await self._told.wait()
            if not isinstance(answer := self.budget.ask(self._now(), lane), Learning):
                return answer

    def ended(self, answer: Answer | None) -> None:
        """Note the end of a call that was let out, and what its answer tells, if there was one."""
        limits = rate_limits(answer.headers) if answer else None
        named: timedelta | None = None
        if answer and answer.status == 429:  # noqa: PLR2004 -- HTTP
            named = retry_after(answer.headers, now=datetime.now(UTC))
        self.budget.ended(self._now(), limits, refused_for_s=named.total_seconds() if named else None)
        self.version += 1
        self._told.set()

    def is_forgettable(self) -> bool:
        """Whether nothing is lost with it: it is idle and saved, or nobody saves it and it is out of date."""
        idle_s = self._monotonic() - self._used_at
        if self.budget.is_in_flight or self.taking_over.locked() or idle_s < self.budget.interval_s:
            return False
        return self.saved_version == self.version or idle_s > ASK_AGAIN_S

    def _now(self) -> float:
        self._used_at = self._monotonic()
        return self._used_at


class Budgets:
    """All of a process; `claimed` is to be called when it may have become the owner of more tenants."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        load: Load = _nothing_saved,
        most: int = _MOST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowance = allowance
        self._load = load
        self._most = most
        self._monotonic = monotonic
        self._of: OrderedDict[Whose, Spending] = OrderedDict()
        self._claims = 1

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._of)

    async def of(self, app: AppName, tenant: TenantId) -> Spending:
        """Return a tenant's, with what was saved of it where this is its first use since a claim."""
        spending = self._of.get((app, tenant))
        if spending is None:
            spending = self._of[app, tenant] = Spending(self._allowance, self._monotonic)
            self._forget()
        self._of.move_to_end((app, tenant))
        if spending.taken_over != self._claims:
            async with spending.taking_over:
                while spending.taken_over != (claims := self._claims):
                    saved = await self._load(app, tenant)
                    spending.budget.adopt(self._monotonic(), saved)
                    spending.taken_over = claims
        return spending

    def wait_s(self, app: AppName, tenant: TenantId, lane: Lane) -> float:
        """Return how long a call of `lane` would have to wait as far as is known, in seconds; asks nobody."""
        spending = self._of.get((app, tenant))
        if spending is None or spending.taken_over != self._claims:
            return 0.0
        wait_s = spending.budget.wait_s(self._monotonic(), lane)
        return SOON_S if isinstance(wait_s, Learning) else wait_s

    def claimed(self) -> None:
        """Believe nothing any more of what others may have spent of meanwhile: each is taken over anew."""
        self._claims += 1

    def changes(self, tenants: Iterable[Whose]) -> list[Change]:
        """Return those of some tenants that were spent of since they were saved.

        One that was not taken over since the last claim is left out: what is saved of it may be another owner's.
        """
        now = self._monotonic()
        return [
            Change(whose, spending.budget.saved(now), spending.version)
            for whose in sorted(tenants)
            if (spending := self._of.get(whose)) is not None
            and spending.version != spending.saved_version
            and spending.taken_over == self._claims
        ]

    def saved(self, changes: Iterable[Change]) -> None:
        """Note that changes are in the table."""
        for change in changes:
            if (spending := self._of.get(change.whose)) is not None:
                spending.saved_version = change.version

    def _forget(self) -> None:
        # Two looks for each that comes: so those that are idle go, whatever stands before them.
        for whose, spending in list(islice(self._of.items(), 2)) if len(self._of) > self._most else ():
            if spending.is_forgettable():
                del self._of[whose]
            else:
                self._of.move_to_end(whose)
