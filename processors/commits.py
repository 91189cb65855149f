"""Commits what is finished: now and then while the numbers are ours, once more when they are given back, then never.

A late commit would pass under the group's next generation and rewind the partition's new owner: aiokafka tries again
under whatever generation is current. So what is under way when the numbers go is cancelled.
"""

import asyncio
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition

from processors.background import Background
from processors.ownership import Ownership
from processors.partitions import Number
from schemas.logs import get_logger

log = get_logger(__name__)

_CALL_TIMEOUT_S = 10.0


class Commits:
    """The lowest unfinished offsets of the numbers of an assignment, where their epoch is confirmed.

    `failed` is told what ends the task.
    """

    def __init__(self, ownership: Ownership, *, interval_s: float, failed: Callable[[BaseException], None]) -> None:
        self._ownership = ownership
        self._interval_s = interval_s
        self._task = Background(failed)
        self._committed: dict[TopicPartition, int] = {}

    def begin(self, client: AIOKafkaConsumer, numbers: Collection[Number]) -> None:
        """Commit of `numbers` from now on, instead of those before."""
        self._committed = {}
        self._task.begin(self._now_and_then(client, numbers))

    def end(self) -> None:
        """Commit nothing more."""
        self._task.end()

    async def last(self, client: AIOKafkaConsumer, numbers: Collection[Number]) -> None:
        """Commit once more, then nothing; nothing at all where `end` came first."""
        if self._task.is_begun:
            self.end()
            await self._commit(client, numbers)

    async def _now_and_then(self, client: AIOKafkaConsumer, numbers: Collection[Number]) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._commit(client, numbers)

    async def _commit(self, client: AIOKafkaConsumer, numbers: Collection[Number]) -> None:
        offsets = self._committable(numbers)
        if not offsets:
            return
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await client.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # What is not committed is read again, and the ledger knows it.
            log.warning("commit_failed", error=type(error).__name__)
        else:
            self._committed |= offsets

    def _committable(self, numbers: Collection[Number]) -> dict[TopicPartition, int]:
        """Return the lowest unfinished offsets of confirmed numbers, where they have moved."""
        offsets = {
            tp: tracker.committable
            for held in numbers
            if self._ownership.is_confirmed(held.number)
            for tp, tracker in held.trackers.items()
        }
        return {tp: o for tp, o in offsets.items() if o is not None and o != self._committed.get(tp)}
