"""The brakes of a worker's handlers, as the dispatcher asks of them; says once when one engages, once when it is over.

In memory and for this worker alone: one that starts, with the deploy that mends a handler, begins with all free.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from processors.brake import SLOTS, Brake, State, Turn
from processors.pairs import Dead, Done, History, Outcome, Pair, Parked
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics
from schemas.settings import Worker

log = get_logger(__name__)

BRAKED = "braked"
"""The reason of a pair that waits because its handler may not run."""


class Brakes:
    """A brake for each registered handler, with its clock, log and metric."""

    def __init__(
        self,
        handlers: Iterable[str],
        worker: Worker,
        metrics: WorkerMetrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._rng = rng or random.Random()  # noqa: S311 -- spreads pairs, guards nothing
        self._brakes = {name: Brake(worker, self._rng) for name in handlers}
        self._monotonic = monotonic
        self._gauge = metrics.handler_braked
        self._engaged_at: dict[str, float] = {}
        for name in self._brakes:
            self._gauge.labels(name).set(0)

    @property
    def braked(self) -> list[str]:
        """The handlers that are not free."""
        return sorted(self._engaged_at)

    def begin(self, handler: str) -> Turn | None:
        """Take a turn for one run, None where the handler may not run now; each turn is to be left."""
        return self._brakes[handler].begin(self._monotonic())

    def leave(self, handler: str, turn: Turn) -> None:
        """Give a turn back, however its run ended; before that is judged."""
        self._brakes[handler].leave(turn)

    def park(self, handler: str, before: History) -> Parked:
        """Return what becomes of a pair that may not run: it is parked as it was, until the handler is tried again."""
        now = datetime.now(UTC)
        put_off = timedelta(seconds=self._brakes[handler].put_off_s(self._monotonic()))
        return Parked(now, before, BRAKED, now + put_off)

    def judged(self, pair: Pair, turn: Turn, outcome: Outcome, before: History) -> Outcome:
        """Take note of a run's outcome, and return what becomes of the pair: nothing of a braked handler dies.

        What waits (no attempt used up) tells nothing of the handler, and may die of its deadline all the same.
        """
        counts = isinstance(outcome, Done) or outcome.history.attempts > before.attempts
        if not counts:
            return outcome
        brake = self._brakes[pair.handler]
        slot = zlib.crc32(f"{pair.app}/{pair.tenant}".encode()) % SLOTS
        brake.note(turn, slot=slot, failed=not isinstance(outcome, Done), now=self._monotonic())
        self._tell(pair.handler, brake)
        if isinstance(outcome, Dead) and pair.handler in self._engaged_at:
            # It keeps the failure, to be looked at, and the attempt, to be run by a mended handler.
            history = History(before.attempts, outcome.history.failures, outcome.history.calls)
            return self.park(pair.handler, history)
        return outcome

    def _tell(self, handler: str, brake: Brake) -> None:
        now = self._monotonic()
        is_free = brake.state(now) is State.FREE
        if not is_free and handler not in self._engaged_at:
            self._engaged_at[handler] = now
            self._gauge.labels(handler).set(1)
            log.error("handler_braked", handler=handler, hint="too many of its runs fail: mend and deploy it")
        elif is_free and handler in self._engaged_at:
            after_s = round(now - self._engaged_at.pop(handler), 1)
            self._gauge.labels(handler).set(0)
            log.info("handler_freed", handler=handler, after_s=after_s)
