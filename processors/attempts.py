"""One run of a pair's handler: only while the partition is ours, and with a verdict on how it ended.

Writes nothing: what becomes of the pair is returned, and told to log and metrics.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from levelgate.highlevel.client import ApiCall
from levelgate.postgres import POSTGRES_AWAY
from processors.brakes import Brakes
from processors.context import Contexts
from processors.holds import Holds
from processors.outages import Outages
from processors.ownership import Ownership
from processors.pairs import LIVE, Dead, Done, Failure, History, Lane, Outcome, Pair, Parked, Record, kept
from processors.registry import Handler
from processors.retries import Die, Policy, judge, policy_of
from processors.trial import failure_of
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


class Run(NamedTuple):
    """A run that is under way."""

    running: Running
    ended: asyncio.Event


class Attempts:
    """Runs handlers; one for a worker. `policy` is what their `@on` leaves to the settings."""

    def __init__(
        self,
        handlers: Iterable[Handler],
        *,
        contexts: Contexts,
        ownership: Ownership,
        holds: Holds,
        policy: Policy,
        outages: Outages,
        brakes: Brakes,
        metrics: WorkerMetrics,
    ) -> None:
        self._contexts = contexts
        self._ownership = ownership
        self._holds = holds
        self._default = policy
        self._policies = {each.name: policy_of(each.overrides, policy) for each in handlers}
        self._outages = outages
        self._brakes = brakes
        self._metrics = metrics
        self._rng = random.Random()  # noqa: S311 -- spreads retries, guards nothing
        self.running: dict[Pair, Run] = {}
        """The pairs that are being run or about to be, those that a run does beside its own included."""

    def policy_of(self, handler: str) -> Policy:
        """Return the policy of a handler; of one that is not here, what the settings say."""
        return self._policies.get(handler, self._default)

    async def make(
        self,
        record: Record,
        pair: Pair,
        handler: Handler,
        event: Event | LevelgateError,
        before: History,
        epoch: int,
        lane: Lane,
        others: tuple[Pair, ...] = (),
    ) -> Outcome:
        """Run a pair's handler once and return what becomes of it; `others` are done by the same run if it ends well.

        An error as `event` is the run's failure: the body has no event. The calls are spent of the share of `lane`.
        Raises Fenced.
        """
        with self._noted(record, pair, others):
            if not await self._confirmed(record.partition, epoch):
                raise Fenced(f"partition {record.partition} is another worker's")
            turn = self._brakes.begin(pair)
            if turn is None:
                return self._brakes.park(pair, before)
            started = time.monotonic()
            calls: list[ApiCall] = []
            failure: BaseException | None = None
            try:
                if isinstance(event, LevelgateError):
                    failure = event
                else:
                    ctx = self._contexts.make(
                        record, pair, attempt=before.attempts + 1, on_call=calls.append, lane=lane
                    )
                    failure = await failure_of(handler, event, ctx, timeout_s=self.policy_of(handler.name).timeout_s)
            finally:
                self._brakes.leave(pair, turn)
            duration = time.monotonic() - started
            outcome = self._judge(record, handler, failure, calls, before)
            outcome = self._brakes.judged(pair, turn, outcome, before)
            self._told(record, pair, outcome, failure, duration, len(others))
            return outcome

    @contextmanager
    def _noted(self, record: Record, pair: Pair, others: tuple[Pair, ...]) -> Iterator[None]:
        """Have the pairs among those that run, from before anything of their run is awaited.

        Who is to be done by a run must not be parked or run elsewhere meanwhile.
        """
        run = Run(Running(pair, record.envelope.type, record.entity, time.monotonic()), asyncio.Event())
        self.running |= dict.fromkeys((pair, *others), run)
        try:
            yield
        finally:
            for each in (pair, *others):
                del self.running[each]
            run.ended.set()

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
            policy=self.policy_of(handler.name),
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
        self,
        record: Record,
        pair: Pair,
        outcome: Outcome,
        failure: BaseException | None,
        duration_s: float,
        others: int,
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
            "coalesced": others,
        }
        if failure is None:
            log.debug("handled", **fields)
        else:
            # The text stays in the pair's row: a stranger's error may quote the body.
            log.warning("coalesced_run_failed" if others else word, error=type(failure).__name__, **fields)


def describe(failure: BaseException) -> str:
    """Return an error's text as it may be kept and shown: redacted and cut.

    A time-out has no text of its own; its name says it. NUL is what Postgres can't store.
    """
    try:
        text = str(failure)
    except Exception as error:  # noqa: BLE001 -- a stranger's class: its text must not end the worker
        text = f"its text can't be had: {type(error).__name__}"
    if isinstance(failure, TimeoutError) and not text:
        return "the handler took longer than it may"
    return redact_text(text).replace("\x00", "")[:_MESSAGE_CHARACTERS]


def _now() -> datetime:
    return datetime.now(UTC)
