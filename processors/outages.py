"""An outage of the vendor's API, as the worker's parts ask of it: how much may run, and whose failure it was.

Told of every API call's end by the client; says once when it begins and once when it is over.
"""

import asyncio
import random
import time
from collections.abc import Callable

from levelgate.highlevel.client import CallEnd
from processors.circuit import Circuit, State
from schemas.errors import ApiUnavailable, RefreshFailed
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics

log = get_logger(__name__)

HIGHLEVEL = "highlevel"
POSTGRES = "postgres"


class Outages:
    """One worker's circuit of the API, with its clock, log and metric."""

    def __init__(
        self,
        metrics: WorkerMetrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._circuit = Circuit(rng or random.Random())  # noqa: S311 -- spreads probes, guards nothing
        self._monotonic = monotonic
        self._gauge = metrics.circuit_open.labels(HIGHLEVEL)
        self._gauge.set(0)
        self._began: float | None = None
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether nothing may run now: reading more would only fill memory."""
        return self._circuit.state(self._monotonic()) is State.OPEN

    @property
    def is_under_way(self) -> bool:
        """Whether the API failed for everyone and has not been seen to answer since."""
        return self._circuit.state(self._monotonic()) is not State.CLOSED

    def places(self, concurrency: int) -> int:
        """Return how many of `concurrency` may run now."""
        return self._circuit.places(concurrency, self._monotonic())

    def excuses(self, failure: BaseException | None) -> bool:
        """Whether a run failed of the outage: what did not fail itself uses up no attempt (design §9.14)."""
        return isinstance(failure, ApiUnavailable | RefreshFailed) and self.is_under_way

    def called(self, end: CallEnd) -> None:
        """Take note of an API call's end."""
        now = self._monotonic()
        self._circuit.note((end.app, end.tenant), ok=end.is_answered, began=now - end.elapsed_s, now=now)
        is_closed = self._circuit.state(now) is State.CLOSED
        if is_closed and self._began is None:
            return
        if self._began is None:
            self._began = now
            self._gauge.set(1)
            log.error("circuit_opened", dependency=HIGHLEVEL, hint="nothing is consumed until a probe is answered")
        elif is_closed:
            log.info("circuit_closed", dependency=HIGHLEVEL, after_s=round(now - self._began, 1))
            self._began = None
            self._gauge.set(0)
        self._changed.set()

    async def run(self, pump: Callable[[], None]) -> None:
        """Call `pump` whenever more may run than before; until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(self._circuit.wait_left_s(self._monotonic()))
            pump()
