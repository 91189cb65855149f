"""Brings parked pairs back when their time has come; the partition's owner is the one who does."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from levelgate.postgres import POSTGRES_AWAY
from processors.holds import Holds
from processors.pairs import Lane, Pair, lane_of
from processors.parking import OF_A_TENANT, DuePair, Lines, Parking
from processors.scheduler import Scheduler
from schemas.ids import AppName, TenantId
from schemas.logs import get_logger

log = get_logger(__name__)

_MOST = 400
_POLL_S = 0.5
_REST = 4
_RETRY_S = 1.0


class _Key(NamedTuple):
    pair: Pair
    number: int
    epoch: int


class DuePairs:
    """Polls the parked pairs of the active numbers; `run` is its task.

    A line's head alone is ever due, so that its pairs come back in order, one after the other. Redriven pairs
    are due beside it: each joins its line when no delivery of its entity runs, and is in order with nothing.
    Tenants take turns, and one without budget is passed over until it has some again.
    """

    def __init__(
        self,
        parking: Parking,
        scheduler: Scheduler,
        lines: Lines,
        holds: Holds,
        *,
        budget_wait_s: Callable[[AppName, TenantId, Lane], float],
        active: Callable[[], dict[int, int]],
    ) -> None:
        self._budget_wait_s = budget_wait_s
        self._holds = holds
        self._parking = parking
        self._scheduler = scheduler
        self._lines = lines
        self._active = active
        self._taken: set[_Key] = set()
        self._over: set[_Key] = set()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Take due pairs until cancelled."""
        while True:
            began = time.monotonic()
            try:
                taken = await self.take()
            except POSTGRES_AWAY as error:
                log.warning("parked_unreadable", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
                continue
            if not taken:
                # A look goes by all tenants that have something parked: of very many it is not to be half the work.
                took_s = time.monotonic() - began
                await asyncio.sleep(took_s)
                # A pair that ended may have released the next of its line: no need to wait the interval out then.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(_POLL_S, _REST * took_s)):
                        await self._ended.wait()
                self._ended.clear()

    async def take(self) -> int:
        """Queue the due pairs that are not under way, and return how many. Raises what Postgres raises."""
        active = self._active()
        # Pairs of a number that was given back and claimed anew have another epoch: they are taken again.
        self._taken = {key for key in self._taken if active.get(key.number) == key.epoch}
        if not active or len(self._taken) >= _MOST:
            return 0
        # What ends while the query runs may be in its answer still: it must not run again for that.
        self._over.clear()
        now = datetime.now(UTC)
        of_tenant = Counter((key.pair.app, key.pair.tenant) for key in self._taken)
        due = await self._parking.due(
            active,
            now=now,
            most=_MOST,
            held=self._holds.tenants(now) | {tenant for tenant, taken in of_tenant.items() if taken >= OF_A_TENANT},
            held_replays=self._holds.replays(now),
        )
        taken = 0
        for each in due:
            number = each.record.partition
            key = _Key(each.pair, number, active[number])
            if key in self._taken or key in self._over or self._active().get(number) != key.epoch:
                continue
            if self._has_no_budget(each.pair, now):
                continue
            self._taken.add(key)
            taken += 1
            if each.is_redriven:
                self._scheduler.add_turn(each.record, self._joiner(each, key))
            else:
                self._scheduler.add_parked(each, epoch=key.epoch, finished=self._finisher(key))
        return taken

    def _has_no_budget(self, pair: Pair, now: datetime) -> bool:
        """Whether a pair's tenant has no call left now; it is held until it has, with all that is due of it."""
        lane = lane_of(pair.run, was_parked=True)
        wait_s = self._budget_wait_s(AppName(pair.app), TenantId(pair.tenant), lane)
        if wait_s > 0:
            until = now + timedelta(seconds=wait_s)
            self._holds.hold((pair.app, pair.tenant), is_replay=lane == "replay", until=until)
        return wait_s > 0

    def _joiner(self, due: DuePair, key: _Key) -> Callable[[], None]:
        def join() -> None:
            if self._active().get(key.number) != key.epoch:
                return
            # From now on deliveries of its entity park behind it, and its parked ones take turns with it.
            self._lines.join(key.number, due.record.line(due.pair.handler))
            self._scheduler.add_parked(due, epoch=key.epoch, finished=self._finisher(key))

        return join

    def _finisher(self, key: _Key) -> Callable[[bool], None]:
        def finished(ours: bool) -> None:  # noqa: ARG001, FBT001 -- the ledger's callback
            self._taken.discard(key)
            self._over.add(key)
            # While much is taken a look brings mostly that again: not one for each pair that ends.
            if len(self._taken) <= _MOST // 2:
                self._ended.set()

        return finished
