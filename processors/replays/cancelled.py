"""Which replays are cancelled, as a worker knows it: what of them it has not run yet, it skips."""

import asyncio

from levelgate.postgres import POSTGRES_AWAY
from processors.replays.table import cancelled
from processors.sql import Pool
from schemas.logs import get_logger

log = get_logger(__name__)

_POLL_S = 2.0


class CancelledRuns:
    """The ids of cancelled replays, two seconds old at most; `run` is its task. With Postgres away, the last ones."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ids: frozenset[str] = frozenset()

    def __contains__(self, run: object) -> bool:
        """Whether a run is a cancelled replay's."""
        return run in self._ids

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                ids = await cancelled(self._pool)
            except POSTGRES_AWAY as error:
                log.warning("cancelled_unreadable", error=type(error).__name__)
            else:
                for each in sorted(ids - self._ids):
                    log.info("replay_cancelled", replay=each)
                self._ids = ids
            await asyncio.sleep(_POLL_S)
