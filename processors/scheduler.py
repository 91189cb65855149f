"""Gives deliveries their turns: in order per entity, fairly between tenants and lanes, so many at once.

Owns the tasks that run handlers. Knows neither Kafka nor Postgres: `add` takes work, a callback tells its end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator
from functools import partial
from itertools import islice

import msgspec

from processors.attempts import Fenced
from processors.coalescing import MOST, Place
from processors.dispatch import Dispatcher
from processors.lanes import Lanes
from processors.pairs import Lane, Record, lane_of
from processors.parking import DuePair
from processors.shares import WEIGHTS, Shares
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics

log = get_logger(__name__)

_TENANT_SHARE = 0.5
"""Of all places, how many one tenant may have in a lane: its flood of long runs leaves places for others."""

_CANCEL_S = 5.0
"""How long a cancelled handler may take to end before it is left behind, fenced."""


class _Job(msgspec.Struct, frozen=True):
    number: int
    run: Callable[[], Awaitable[None]]
    place: Place | None = None
    """The place of a delivery; None for parked pairs and turns."""


class Scheduler:
    """Runs at most `concurrency` deliveries and parked pairs at once, and starts none while twice as much is in flight.

    In flight is what runs and what has ended and is not recorded yet: all that a crash can make run twice.
    `places` tells how many of `concurrency` may run now: fewer while the API is down; `pump` when they became more.
    `unrecorded` tells how many entries wait for the ledger; `pump` is to be called when they became fewer.
    `failed` is told of an error of our own that no pair can carry; the worker stops on it.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        concurrency: int,
        places: Callable[[int], int],
        unrecorded: Callable[[], int],
        metrics: WorkerMetrics,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._concurrency = concurrency
        self._places = places
        self._unrecorded = unrecorded
        self._metrics = metrics
        self._failed = failed
        self._shares = Shares(concurrency)
        most_of_a_tenant = max(1, int(concurrency * _TENANT_SHARE))
        self._lanes: dict[Lane, Lanes[_Job]] = {lane: Lanes(most_of_a_tenant=most_of_a_tenant) for lane in WEIGHTS}
        self._tasks: dict[asyncio.Task[None], int] = {}

    def add(self, record: Record, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Queue a delivery behind the earlier ones of its entity; `finished` as in `Place`."""
        place = Place(record, epoch, finished, self._behind)
        self._add(record, lambda: self._dispatcher.dispatch(place), place)

    def add_turn(self, record: Record, begin: Callable[[], None]) -> None:
        """Queue a call among the deliveries of the record's entity: none of them runs when it is made."""

        async def turn() -> None:
            begin()

        self._add(record, turn)

    def waiting(self, record: Record) -> list[Place]:
        """Return, in order, the places of the record's entity that wait for their turn."""
        return list(self._in_lane(record))

    def withdraw(self, record: Record) -> None:
        """Take back the deliveries that `waiting` returns; what runs goes on."""
        lane, entity = _lane_of(record)
        self._lanes[lane].withdraw(entity, lambda job: job.place is not None)

    def _add(self, record: Record, run: Callable[[], Awaitable[None]], place: Place | None = None) -> None:
        lane, entity = _lane_of(record)
        tenant = (record.envelope.app, record.envelope.tenant)
        self._lanes[lane].add(_Job(record.partition, run, place), lane=entity, tenant=tenant)
        self.pump()

    def _in_lane(self, record: Record) -> Iterator[Place]:
        lane, entity = _lane_of(record)
        return (job.place for job in self._lanes[lane].waiting(entity) if job.place)

    def _behind(self, place: Place) -> list[Place]:
        number, epoch = place.record.partition, place.epoch
        waiting = islice(self._in_lane(place.record), MOST)
        return [each for each in waiting if each.record.partition == number and each.epoch == epoch]

    def add_parked(self, due: DuePair, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Queue a parked pair whose time has come; one of a relaxed handler is in order with nothing."""
        tenant = (due.pair.app, due.pair.tenant)
        job = _Job(due.record.partition, lambda: self._dispatcher.dispatch_parked(due, epoch=epoch, finished=finished))
        in_order = self._dispatcher.is_strict(due.pair.handler)
        entity = due.record.line(due.pair.handler) if in_order else due.pair
        self._lanes[lane_of(due.pair.run, was_parked=True)].add(job, lane=entity, tenant=tenant)
        self.pump()

    async def stop(self, numbers: Collection[int], *, grace_s: float) -> None:
        """Start no more work of `numbers`, let what runs end within `grace_s`, cancel and await the rest.

        What was cancelled or never started is not recorded: it is read again by the next owner.
        """
        for lanes in self._lanes.values():
            lanes.discard(lambda job: job.number in numbers)
        running = [task for task, number in self._tasks.items() if number in numbers]
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("handlers_cancelled", count=len(late), grace_s=grace_s)
            _, stuck = await asyncio.wait(late, timeout=_CANCEL_S)
            if stuck:
                log.error("handlers_ignored_cancellation", count=len(stuck))

    def pump(self) -> None:
        """Start what may start."""
        while self._has_room():
            lane = self._shares.choose([lane for lane, lanes in self._lanes.items() if lanes.is_ready])
            taken = self._lanes[lane].take() if lane else None
            if lane is None or taken is None:
                break
            entity, job = taken
            self._shares.started(lane)
            if job.place is not None:
                # At once, and not when the task starts: what of its entity is parked from now on is behind it.
                self._dispatcher.begin(job.place)
            task = asyncio.get_running_loop().create_task(self._run(job))
            self._tasks[task] = job.number
            task.add_done_callback(partial(self._ended, lane, entity))
        self._metrics.in_flight.set(len(self._tasks))

    def _has_room(self) -> bool:
        running = len(self._tasks)
        return running < self._places(self._concurrency) and running + self._unrecorded() < 2 * self._concurrency

    async def _run(self, job: _Job) -> None:
        try:
            await job.run()
        except* Fenced:
            log.warning("work_dropped", partition=job.number)

    def _ended(self, lane: Lane, entity: Hashable, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        self._shares.ended(lane)
        self._lanes[lane].release(entity)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
        self.pump()


def _lane_of(record: Record) -> tuple[Lane, Hashable]:
    """Return what a delivery competes as, and what it is in order with."""
    env = record.envelope
    entity = (record.topic, env.app, env.tenant, record.entity, record.run)
    return lane_of(record.run, was_parked=False), entity
