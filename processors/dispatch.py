"""Runs the handlers of a delivery: asks what is done already, runs the rest, judges each outcome by itself.

Each pair succeeds or fails alone. Nothing here knows Kafka; what became of a pair goes to the ledger, and
the delivery's offset is finished by what the ledger then reports.
"""

import asyncio
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from processors.attempts import Attempts
from processors.coalescing import Fold, Place, gather, gather_parked
from processors.context import events_of
from processors.ledger import Ledger
from processors.ledger_rows import IndexEntry, PairEntry, ReleaseEntry
from processors.pairs import Cancelled, Dead, Failure, History, Lane, Outcome, Pair, Parked, Record, kept, lane_of
from processors.parking import DuePair, Lines, Parking
from processors.pending import Pending
from processors.registry import Handler, Registry
from processors.watchdog import Running
from schemas.errors import LevelgateError
from schemas.events import Event
from schemas.metrics import WorkerMetrics


class Dispatcher:
    """Runs pairs; one for a worker."""

    def __init__(
        self,
        *,
        registry: Registry,
        attempts: Attempts,
        ledger: Ledger,
        lines: Lines,
        parking: Parking,
        waiting_retry_s: float,
        cancelled: Container[str],
        metrics: WorkerMetrics,
    ) -> None:
        self._registry = registry
        self._attempts = attempts
        self._ledger = ledger
        self._lines = lines
        self._parking = parking
        self._waiting_retry_s = waiting_retry_s
        self._cancelled = cancelled
        self._metrics = metrics

    @property
    def running(self) -> list[Running]:
        """The pairs whose handlers run."""
        return list(dict.fromkeys(run.running for run in self._attempts.running.values()))

    def is_strict(self, handler: str) -> bool:
        """Whether pairs of a handler keep the order of their entity; of one that is not here, they do."""
        return self._attempts.policy_of(handler).ordering == "strict"

    def handlers_of(self, record: Record) -> tuple[Handler, ...]:
        """Return the handlers that a delivery is given to: of a replay those it is for, of a cancelled one none."""
        if record.envelope.reason or record.run in self._cancelled:
            return ()
        handlers = self._registry.for_type(record.envelope.type)
        return tuple(each for each in handlers if record.is_for(each.name)) if record.envelope.replay_id else handlers

    def is_running(self, record: Record) -> bool:
        """Whether one of a delivery's pairs runs, be it as the follower of another's run."""
        return any(record.pair(handler.name, 0) in self._attempts.running for handler in self.handlers_of(record))

    def begin(self, place: Place) -> None:
        """Note that a delivery is about to be dispatched: what of its entity is parked from now on waits for that."""
        for handler in self.handlers_of(place.record):
            if self.is_strict(handler.name):
                self._lines.open(place.record.partition, place.epoch, place.record.line(handler.name))

    async def dispatch(self, place: Place) -> None:
        """Run the handlers of a delivery that was begun, all at once; return when they have ended.

        Raises Fenced where its partition is known to be another's already.
        """
        record = place.record
        handlers = self.handlers_of(record)
        try:
            events: list[Event] | LevelgateError = events_of(record) if handlers else []
        except LevelgateError as error:
            events = error
        elements = len(events) if isinstance(events, list) else 1
        wanted = [element for element in range(elements) if record.has(element)]
        pending = Pending(len(handlers) * len(wanted) + 1, place.finished)
        names = tuple(handler.name for handler in handlers)
        self._ledger.put(IndexEntry(place.epoch, record, names, elements, pending.recorded))
        if not handlers:
            if record.run in self._cancelled:
                self._count_cancelled(record)
            return
        before = await self._ledger.recorded(record)
        each = {element: events[element] if isinstance(events, list) else events for element in wanted}
        await _all([self._first_runs(place, handler, each, before, pending.recorded) for handler in handlers])

    async def _first_runs(
        self,
        place: Place,
        handler: Handler,
        events: Mapping[int, Event | LevelgateError],
        before: frozenset[tuple[str, int]],
        recorded: Callable[[bool], None],
    ) -> None:
        """Run one handler for each element, but for what is recorded; then let go who waits behind."""
        runs = []
        for element, event in events.items():
            if (handler.name, element) in before:
                self._skip(handler, place, recorded)
            else:
                runs.append(self._first_run(place, handler, element, event, recorded))
        await _all(runs)
        record, epoch = place.record, place.epoch
        if self.is_strict(handler.name) and self._lines.close(record.partition, epoch, record.line(handler.name)):
            self._ledger.put(ReleaseEntry(epoch, record, handler.name))

    async def _first_run(
        self,
        place: Place,
        handler: Handler,
        element: int,
        event: Event | LevelgateError,
        recorded: Callable[[bool], None],
    ) -> None:
        record, epoch = place.record, place.epoch
        pair = record.pair(handler.name, element)
        while (elsewhere := self._attempts.running.get(pair)) is not None:
            await elsewhere.ended.wait()
        if self._ledger.is_recent(pair):
            self._skip(handler, place, recorded)
            return
        line = record.line(handler.name)
        # Behind a relaxed handler's parked pair nobody waits: it is in no line.
        in_line = self.is_strict(handler.name)
        if in_line and self._lines.is_waiting(record.partition, line):
            self._lines.join(record.partition, line)
            outcome: Outcome = Parked(_now(), History(), "behind", None)
        else:
            fold = None
            if self._attempts.policy_of(handler.name).coalesce:
                fold = await gather(
                    place, handler, self.handlers_of, ledger=self._ledger, running=self._attempts.running
                )
            lane = lane_of(pair.run, was_parked=False)
            folded = await self._run_folded(fold, handler, epoch, lane) if fold else None
            outcome = folded or await self._attempts.make(record, pair, handler, event, History(), epoch, lane)
            if in_line and isinstance(outcome, Parked):
                self._lines.join(record.partition, line)
        self._record(PairEntry(epoch, record, pair, outcome, False, recorded))  # noqa: FBT003 -- was_parked

    async def dispatch_parked(self, due: DuePair, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Run a parked pair again; `finished` as in `dispatch`."""
        record, pair = due.record, due.pair
        line = record.line(pair.handler)
        handler = self._registry.by_name(pair.handler)
        outcome: Outcome
        if pair.run in self._cancelled and not due.is_redriven:
            # It leaves its line as one that is done does, and the next one is due: to be dropped in its turn.
            outcome = Cancelled(_now(), due.history)
        elif handler is None:
            # Renamed, taken out, or not there yet in a rollout: it waits for a worker that has it.
            missing = Failure(_now(), "HandlerMissing", f"this worker has no handler called {pair.handler}")
            history = History(due.history.attempts, kept((*due.history.failures, missing)), due.history.calls)
            outcome = Parked(_now(), history, "waiting", _now() + timedelta(seconds=self._waiting_retry_s))
        else:
            fold = None
            if self._attempts.policy_of(handler.name).coalesce:
                fold = await gather_parked(due, parking=self._parking, lines=self._lines)
            lane = lane_of(pair.run, was_parked=True)
            folded = await self._run_folded(fold, handler, epoch, lane) if fold else None
            outcome = folded or await self._attempts.make(
                record, pair, handler, _event(record, pair), due.history, epoch, lane
            )

        def recorded(ours: bool) -> None:  # noqa: FBT001 -- the ledger's callback
            # A relaxed pair is counted only where it was parked before this worker claimed; nobody asks for it.
            if ours and not isinstance(outcome, Parked):
                self._lines.leave(record.partition, line)
            finished(ours)

        self._record(PairEntry(epoch, record, pair, outcome, True, recorded))  # noqa: FBT003 -- was_parked

    async def _run_folded(self, fold: Fold, handler: Handler, epoch: int, lane: Lane) -> Outcome | None:
        """Run once for all of a fold; return what becomes of the leader, None where it is to run alone.

        What becomes of the followers is put into the ledger; those in the lane learn of it at their turn.
        """
        pair, record = fold.newest
        event = _event(record, pair)
        ended = await self._attempts.make(record, pair, handler, event, History(), epoch, lane, fold.others)
        settled = fold.settle(ended, deadline_s=self._attempts.policy_of(handler.name).deadline_s)
        if settled is None:
            return None
        leader = settled.pop(fold.leader)
        if not settled:
            return leader
        for place in fold.places:
            place.folded.add(handler.name)
        was_parked = not fold.places

        def recorded(ours: bool) -> None:  # noqa: FBT001 -- the ledger's callback
            if ours and was_parked:
                self._lines.leave(record.partition, record.line(handler.name))

        for each, outcome in settled.items():
            if was_parked:  # the others are counted at their turn
                self._count(handler.name, fold.followers[each], "coalesced")
            self._ledger.put(PairEntry(epoch, fold.followers[each], each, outcome, was_parked, recorded))
        return leader

    def _record(self, entry: PairEntry) -> None:
        word = type(entry.outcome).__name__.lower()
        self._count(entry.pair.handler, entry.record, word)
        if isinstance(entry.outcome, Dead):
            self._metrics.dead.labels(entry.pair.handler, entry.record.envelope.type).inc()
        self._ledger.put(entry)

    def _skip(self, handler: Handler, place: Place, recorded: Callable[[bool], None]) -> None:
        self._count(handler.name, place.record, "coalesced" if handler.name in place.folded else "skipped")
        recorded(True)  # noqa: FBT003 -- the callback's one argument

    def _count_cancelled(self, record: Record) -> None:
        for handler in self._registry.for_type(record.envelope.type):
            if record.is_for(handler.name):
                self._count(handler.name, record, "cancelled")

    def _count(self, handler: str, record: Record, outcome: str) -> None:
        # Handlers run only for types that a handler names: the label's values are a closed set.
        self._metrics.handled.labels(handler, record.envelope.type, outcome).inc()


async def _all(runs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all of them, side by side; one alone without a task of its own."""
    if len(runs) == 1:
        await runs[0]
        return
    async with asyncio.TaskGroup() as tasks:
        for each in runs:
            tasks.create_task(each)


def _event(record: Record, pair: Pair) -> Event | LevelgateError:
    """Return a pair's event, or why its body has none."""
    try:
        return events_of(record)[pair.element]
    except LevelgateError as error:
        return error


def _now() -> datetime:
    return datetime.now(UTC)
