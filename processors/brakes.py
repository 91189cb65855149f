"""The brakes of a worker's handlers, as the dispatcher asks of them; says once when one engages, once when it is over.

Live runs and replays have brakes of their own: replayed events that fail must not stop the handler for what is live.

In memory and for this worker alone: one that starts, with the deploy that mends a handler, begins with all free.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from processors.brake import SLOTS, Brake, State, Turn
from processors.pairs import LIVE, Dead, Done, History, Outcome, Pair, Parked
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics
from schemas.settings import Worker

log = get_logger(__name__)

BRAKED = "braked"
"""The reason of a pair that waits because its handler may not run."""


class Braking(NamedTuple):
    """What one brake is for: a handler in live runs, or in replays."""

    handler: str
    run: Literal["live", "replay"]

    def __str__(self) -> str:
        return self.handler if self.run == LIVE else f"{self.handler} (replays)"


class Brakes:
    """Two brakes for each registered handler, with their clock, log and metric."""

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
        self._brakes = {Braking(name, run): Brake(worker, self._rng) for name in handlers for run in ("live", "replay")}
        self._monotonic = monotonic
        self._gauge = metrics.handler_braked
        self._engaged_at: dict[Braking, float] = {}
        for of in self._brakes:
            self._gauge.labels(*of).set(0)

    @property
    def braked(self) -> list[str]:
        """The handlers that are not free: `my_app.greet`, or `my_app.greet (replays)`."""
        return sorted(map(str, self._engaged_at))

    def begin(self, pair: Pair) -> Turn | None:
        """Take a turn for one run, None where the handler may not run now; each turn is to be left."""
        return self._brakes[_of(pair)].begin(self._monotonic())

    def leave(self, pair: Pair, turn: Turn) -> None:
        """Give a turn back, however its run ended; before that is judged."""
        self._brakes[_of(pair)].leave(turn)

    def park(self, pair: Pair, before: History) -> Parked:
        """Return what becomes of a pair that may not run: it is parked as it was, until the handler is tried again."""
        now = datetime.now(UTC)
        put_off = timedelta(seconds=self._brakes[_of(pair)].put_off_s(self._monotonic()))
        return Parked(now, before, BRAKED, now + put_off)

    def judged(self, pair: Pair, turn: Turn, outcome: Outcome, before: History) -> Outcome:
        """Take note of a run's outcome, and return what becomes of the pair: nothing of a braked handler dies.

        What waits (no attempt used up) tells nothing of the handler, and may die of its deadline all the same.
        """
        counts = isinstance(outcome, Done) or outcome.history.attempts > before.attempts
        if not counts:
            return outcome
        of = _of(pair)
        brake = self._brakes[of]
        slot = zlib.crc32(f"{pair.app}/{pair.tenant}".encode()) % SLOTS
        brake.note(turn, slot=slot, failed=not isinstance(outcome, Done), now=self._monotonic())
        self._tell(of, brake)
        if isinstance(outcome, Dead) and of in self._engaged_at:
            # It keeps the failure, to be looked at, and the attempt, to be run by a mended handler.
            history = History(before.attempts, outcome.history.failures, outcome.history.calls)
            return self.park(pair, history)
        return outcome

    def _tell(self, of: Braking, brake: Brake) -> None:
        now = self._monotonic()
        is_free = brake.state(now) is State.FREE
        if not is_free and of not in self._engaged_at:
            self._engaged_at[of] = now
            self._gauge.labels(*of).set(1)
            log.error(
                "handler_braked", handler=of.handler, run=of.run, hint="too many of its runs fail: mend and deploy it"
            )
        elif is_free and of in self._engaged_at:
            after_s = round(now - self._engaged_at.pop(of), 1)
            self._gauge.labels(*of).set(0)
            log.info("handler_freed", handler=of.handler, run=of.run, after_s=after_s)


def _of(pair: Pair) -> Braking:
    return Braking(pair.handler, "live" if pair.run == LIVE else "replay")
