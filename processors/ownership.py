"""Who owns which partition number: claim, epoch, renewal. The fence behind every write of a worker.

Kafka's assignment says who should work on a partition; the epoch in Postgres says who may write for it.
A worker that was frozen and wakes up finds its confirmation too old, and asks before it runs anything.
"""

import asyncio
import time
from collections.abc import Callable, Collection

from processors.sql import Connection, Pool, fetch, queries
from schemas.logs import get_logger

log = get_logger(__name__)

_SQL = queries(__file__)


class Ownership:
    """The partition numbers that this worker has claimed, with their epochs.

    `session_timeout_s` is the group's: a confirmation counts for half of it. `lost` is called with each
    number that turns out to be another's.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        group: str,
        worker: str,
        session_timeout_s: float,
        lost: Callable[[int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._group = group
        self._worker = worker
        self._good_for_s = session_timeout_s / 2
        self._lost = lost
        self._monotonic = monotonic
        self._epochs: dict[int, int] = {}
        self._confirmed_at: dict[int, float] = {}
        self._renewing = asyncio.Lock()

    @property
    def epochs(self) -> dict[int, int]:
        """The numbers held, with their epochs."""
        return dict(self._epochs)

    async def claim(self, number: int) -> int:
        """Take `number` over and return its epoch. Raises what Postgres raises: the caller tries again.

        Where its former owner holds it for longer than a confirmation counts, that one's transactions are ended.
        """
        asked_at = self._monotonic()
        try:
            async with asyncio.timeout(self._good_for_s):
                row = await _SQL.claim(self._pool, group_id=self._group, partition=number, worker=self._worker)
        except TimeoutError:
            await self._end_former(number)
            raise
        self._epochs[number] = row["epoch"]
        self._confirmed_at[number] = asked_at
        return int(row["epoch"])

    async def _end_former(self, number: int) -> None:
        async with asyncio.timeout(self._good_for_s):
            rows = await fetch(
                _SQL.end_former(self._pool, group_id=self._group, partition=number, older_s=self._good_for_s)
            )
        log.warning("claim_waited", partition=number, transactions_ended=rows[0][0])

    def drop(self, number: int) -> None:
        """Forget `number`: nothing is written for it any more."""
        self._epochs.pop(number, None)
        self._confirmed_at.pop(number, None)

    def is_confirmed(self, number: int) -> bool:
        """Whether `number` was known to be ours within half the session timeout."""
        confirmed_at = self._confirmed_at.get(number)
        return confirmed_at is not None and self._monotonic() - confirmed_at < self._good_for_s

    async def confirm(self, number: int, epoch: int) -> bool:
        """Return whether `number` is ours under `epoch`, asking Postgres where that is not known freshly enough."""
        if not self.is_confirmed(number):
            await self.renew()
        return self._epochs.get(number) == epoch and self.is_confirmed(number)

    async def renew(self) -> None:
        """Confirm all numbers held; report those that are another's. Raises what Postgres raises."""
        async with self._renewing:
            epochs = dict(self._epochs)
            if not epochs:
                return
            asked_at = self._monotonic()
            async with asyncio.timeout(self._good_for_s):
                rows = await fetch(
                    _SQL.renew(self._pool, group_id=self._group, partitions=list(epochs), epochs=list(epochs.values()))
                )
            self.confirmed(asked_at, epochs, {row["partition"] for row in rows})

    async def hold(self, connection: Connection, epochs: dict[int, int]) -> set[int]:
        """Return those of `epochs` that are still ours, and keep them so until the transaction ends."""
        asked_at = self._monotonic()
        rows = await fetch(
            _SQL.hold(connection, group_id=self._group, partitions=list(epochs), epochs=list(epochs.values()))
        )
        held = {row["partition"] for row in rows}
        self.confirmed(asked_at, epochs, held)
        return held

    def confirmed(self, asked_at: float, epochs: dict[int, int], ours: Collection[int]) -> None:
        """Take note of an answer to a question of `asked_at`."""
        for number, epoch in epochs.items():
            if self._epochs.get(number) != epoch:
                continue
            if number in ours:
                self._confirmed_at[number] = max(asked_at, self._confirmed_at.get(number, asked_at))
            else:
                log.warning("partition_fenced", partition=number, epoch=epoch)
                self.drop(number)
                self._lost(number)
