"""Runs the handlers of a delivery: asks what is done already, runs the rest, judges each outcome by itself.

Each pair succeeds or fails alone. Nothing here knows Kafka; what became of a pair goes to the ledger, and
the delivery's offset is finished by what the ledger then reports.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from levelgate.highlevel.client import ApiCall
from processors.context import Contexts, events_of
from processors.holds import Holds
from processors.ledger import POSTGRES_AWAY, Ledger
from processors.ledger_rows import IndexEntry, PairEntry, ReleaseEntry
from processors.outages import Outages
from processors.ownership import Ownership
from processors.pairs import LIVE, Dead, Done, Failure, History, Outcome, Pair, Parked, Record, kept
from processors.parking import DuePair, Lines
from processors.pending import Pending
from processors.registry import Handler, Registry
from processors.retries import Die, Policy, judge, policy_of
from processors.watchdog import Running
from schemas.errors import LevelgateError, RateLimited
from schemas.events import Event
from schemas.logs import get_logger, redact_text
from schemas.metrics import WorkerMetrics

log = get_logger(__name__)

_MESSAGE_CHARACTERS = 500
_RETRY_S = 0.5


class Fenced(LevelgateError):
    """The partition is another worker's by now: nothing of it is run or written here."""


class Dispatcher:
    """Runs pairs; one for a worker."""

    def __init__(  # noqa: PLR0913 -- the composition root hands over each part by name
        self,
        *,
        registry: Registry,
        contexts: Contexts,
        ledger: Ledger,
        ownership: Ownership,
        lines: Lines,
        holds: Holds,
        policy: Policy,
        outages: Outages,
        metrics: WorkerMetrics,
        rng: random.Random | None = None,
    ) -> None:
        self._registry = registry
        self._contexts = contexts
        self._ledger = ledger
        self._ownership = ownership
        self._lines = lines
        self._holds = holds
        self._policy = policy
        self._outages = outages
        self._policies = {each.name: policy_of(each.overrides, self._policy) for each in registry.handlers}
        self._metrics = metrics
        self._rng = rng or random.Random()  # noqa: S311 -- spreads retries, guards nothing
        self._running: dict[Pair, _Run] = {}

    @property
    def running(self) -> list[Running]:
        """The pairs whose handlers run."""
        return [run.running for run in self._running.values()]

    def is_strict(self, handler: str) -> bool:
        """Whether pairs of a handler keep the order of their entity; of one that is not here, they do."""
        policy = self._policies.get(handler)
        return policy is None or policy.ordering == "strict"

    def handlers_of(self, record: Record) -> tuple[Handler, ...]:
        """Return the handlers that a delivery is given to."""
        return () if record.envelope.reason else self._registry.for_type(record.envelope.type)

    def begin(self, record: Record, *, epoch: int) -> None:
        """Note that a delivery is about to be dispatched: what of its entity is parked from now on waits for that."""
        for handler in self.handlers_of(record):
            if self.is_strict(handler.name):
                self._lines.open(record.partition, epoch, record.line(handler.name))

    async def dispatch(self, record: Record, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Run the handlers of a delivery that was begun, all at once; return when they have ended.

        `finished` is called later, once: True when each pair and the index row are in Postgres, False
        where the partition was another's by then. Raises Fenced where it is known to be another's already.
        """
        handlers = self.handlers_of(record)
        try:
            events: list[Event] | LevelgateError = events_of(record) if handlers else []
        except LevelgateError as error:
            events = error
        elements = len(events) if isinstance(events, list) else 1
        pending = Pending(len(handlers) * elements + 1, finished)
        names = tuple(handler.name for handler in handlers)
        self._ledger.put(IndexEntry(epoch, record, names, elements, pending.recorded))
        if not handlers:
            return
        before = await self._ledger.recorded(record)
        each = events if isinstance(events, list) else [events]
        await _all([self._first_runs(record, handler, each, before, epoch, pending.recorded) for handler in handlers])

    async def _first_runs(
        self,
        record: Record,
        handler: Handler,
        events: Sequence[Event | LevelgateError],
        before: frozenset[tuple[str, int]],
        epoch: int,
        recorded: Callable[[bool], None],
    ) -> None:
        """Run one handler for each element, but for what is recorded; then let go who waits behind."""
        runs = []
        for element, event in enumerate(events):
            if (handler.name, element) in before:
                self._count(handler.name, record, "skipped")
                recorded(True)  # noqa: FBT003 -- the callback's one argument
            else:
                runs.append(self._first_run(record, handler, element, event, epoch, recorded))
        await _all(runs)
        line = record.line(handler.name)
        if self.is_strict(handler.name) and self._lines.close(record.partition, epoch, line):
            self._ledger.put(ReleaseEntry(epoch, record, handler.name))

    async def _first_run(
        self,
        record: Record,
        handler: Handler,
        element: int,
        event: Event | LevelgateError,
        epoch: int,
        recorded: Callable[[bool], None],
    ) -> None:
        pair = record.pair(handler.name, element)
        while (elsewhere := self._running.get(pair)) is not None:
            await elsewhere.ended.wait()
        if self._ledger.is_recent(pair):
            self._count(handler.name, record, "skipped")
            recorded(True)  # noqa: FBT003 -- as above
            return
        line = record.line(handler.name)
        # Behind a relaxed handler's parked pair nobody waits: it is in no line.
        in_line = self.is_strict(handler.name)
        if in_line and self._lines.is_waiting(record.partition, line):
            self._lines.join(record.partition, line)
            outcome: Outcome = Parked(_now(), History(), "behind", None)
        else:
            outcome = await self._run(record, pair, handler, event, History(), epoch)
            if in_line and isinstance(outcome, Parked):
                self._lines.join(record.partition, line)
        self._record(PairEntry(epoch, record, pair, outcome, False, recorded))  # noqa: FBT003 -- was_parked

    async def dispatch_parked(self, due: DuePair, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Run a parked pair again; `finished` as in `dispatch`."""
        record, pair = due.record, due.pair
        line = record.line(pair.handler)
        handler = self._registry.by_name(pair.handler)
        outcome: Outcome
        if handler is None:
            # Renamed, taken out, or not there yet in a rollout: it waits for a worker that has it.
            missing = Failure(_now(), "HandlerMissing", f"this worker has no handler called {pair.handler}")
            history = History(due.history.attempts, kept((*due.history.failures, missing)), due.history.calls)
            outcome = Parked(_now(), history, "waiting", _now() + timedelta(seconds=self._policy.waiting_retry_s))
        else:
            try:
                event: Event | LevelgateError = events_of(record)[pair.element]
            except LevelgateError as error:
                event = error
            outcome = await self._run(record, pair, handler, event, due.history, epoch)

        def recorded(ours: bool) -> None:  # noqa: FBT001 -- the ledger's callback
            # A relaxed pair is counted only where it was parked before this worker claimed; nobody asks for it.
            if ours and not isinstance(outcome, Parked):
                self._lines.leave(record.partition, line)
            finished(ours)

        self._record(PairEntry(epoch, record, pair, outcome, True, recorded))  # noqa: FBT003 -- was_parked

    async def _run(
        self, record: Record, pair: Pair, handler: Handler, event: Event | LevelgateError, before: History, epoch: int
    ) -> Outcome:
        if not await self._confirmed(record.partition, epoch):
            raise Fenced(f"partition {record.partition} is another worker's")
        started = time.monotonic()
        run = self._running[pair] = _Run(Running(pair, record.envelope.type, record.entity, started), asyncio.Event())
        calls: list[ApiCall] = []
        failure: BaseException | None = None
        try:
            if isinstance(event, LevelgateError):
                failure = event
            else:
                ctx = self._contexts.make(record, pair, attempt=before.attempts + 1, on_call=calls.append)
                async with asyncio.timeout(self._policies[handler.name].timeout_s):
                    await handler.function(event, ctx)
        except asyncio.CancelledError as error:
            # Only a cancellation of this very task is ours; a handler may also let one of its own escape.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- a stranger's code: its error is the pair's outcome
            failure = error
        finally:
            del self._running[pair]
            run.ended.set()
        duration = time.monotonic() - started
        outcome = self._judge(record, handler, failure, calls, before)
        self._told(record, pair, outcome, failure, duration)
        return outcome

    async def _confirmed(self, number: int, epoch: int) -> bool:
        """Whether the partition is ours; waits for Postgres where that must be asked and it is away."""
        while True:
            try:
                return await self._ownership.confirm(number, epoch)
            except POSTGRES_AWAY:
                await asyncio.sleep(_RETRY_S)

    def _judge(
        self, record: Record, handler: Handler, failure: BaseException | None, calls: list[ApiCall], before: History
    ) -> Outcome:
        now = _now()
        made = kept((*before.calls, *calls))
        if failure is None:
            return Done(now, History(before.attempts + 1, before.failures, made))
        failed = kept((*before.failures, Failure(now, type(failure).__name__, describe(failure))))
        verdict = judge(
            failure,
            attempts=before.attempts,
            received_at=record.envelope.received_at,
            policy=self._policies[handler.name],
            now=now,
            rng=self._rng,
            is_excused=self._outages.excuses(failure),
        )
        if isinstance(verdict, Die):
            return Dead(now, History(verdict.attempts, failed, made))
        if isinstance(failure, RateLimited):
            tenant = (record.envelope.app, record.envelope.tenant)
            self._holds.hold(tenant, is_replay=record.run != LIVE, until=verdict.due_at)
        return Parked(now, History(verdict.attempts, failed, made), verdict.reason, verdict.due_at)

    def _told(
        self, record: Record, pair: Pair, outcome: Outcome, failure: BaseException | None, duration_s: float
    ) -> None:
        word = type(outcome).__name__.lower()
        self._metrics.handler_duration.labels(pair.handler, word).observe(duration_s)
        fields = {
            "app": pair.app,
            "type": record.envelope.type,
            "delivery": pair.delivery,
            "handler": pair.handler,
            "attempts": outcome.history.attempts,
            "duration_s": round(duration_s, 4),
        }
        if failure is None:
            log.debug("handled", **fields)
        else:
            # The text stays in the pair's row: a stranger's error may quote the body.
            log.warning(word, error=type(failure).__name__, **fields)

    def _record(self, entry: PairEntry) -> None:
        word = type(entry.outcome).__name__.lower()
        self._count(entry.pair.handler, entry.record, word)
        if isinstance(entry.outcome, Dead):
            self._metrics.dead.labels(entry.pair.handler, entry.record.envelope.type).inc()
        self._ledger.put(entry)

    def _count(self, handler: str, record: Record, outcome: str) -> None:
        # Handlers run only for types that a handler names: the label's values are a closed set.
        self._metrics.handled.labels(handler, record.envelope.type, outcome).inc()


class _Run(NamedTuple):
    running: Running
    ended: asyncio.Event


async def _all(runs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all of them, side by side; one alone without a task of its own."""
    if len(runs) == 1:
        await runs[0]
        return
    async with asyncio.TaskGroup() as tasks:
        for each in runs:
            tasks.create_task(each)


def describe(failure: BaseException) -> str:
    """Return an error's text as it may be kept and shown: our own as it is, a stranger's redacted and cut.

    A time-out has no text of its own; its name says it. NUL is what Postgres can't store.
    """
    if isinstance(failure, TimeoutError) and not str(failure):
        return "the handler took longer than it may"
    text = str(failure) if isinstance(failure, LevelgateError) else redact_text(str(failure))
    return text.replace("\x00", "")[:_MESSAGE_CHARACTERS]


def _now() -> datetime:
    return datetime.now(UTC)
