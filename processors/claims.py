"""Takes over the partition numbers that Kafka has assigned: their positions, the epoch, what is parked of them."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from levelgate.broker import is_member
from levelgate.postgres import POSTGRES_AWAY
from processors import positions
from processors.background import Background
from processors.ownership import Ownership
from processors.parking import Lines, Parking
from processors.partitions import Change, Number, Phase
from schemas.errors import LevelgateError
from schemas.logs import get_logger
from schemas.settings import Kafka, Worker

log = get_logger(__name__)

_RETRY_S = 0.5


class NoMember(LevelgateError):
    """The broker does not count this worker among its group's members."""


class Claims:
    """The task beside the poll loop that makes claiming numbers active, and tries until they are.

    `name` is the worker's client id. `cancel` ends what still runs of numbers, `claimed` is called after each number
    that was taken over, `failed` with what ends the task.
    """

    def __init__(  # noqa: PLR0913 -- the composition root hands over each part by name
        self,
        *,
        name: str,
        kafka: Kafka,
        worker: Worker,
        ownership: Ownership,
        parking: Parking,
        lines: Lines,
        cancel: Callable[[Collection[int]], Awaitable[None]],
        claimed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._name = name
        self._kafka = kafka
        self._worker = worker
        self._ownership = ownership
        self._parking = parking
        self._lines = lines
        self._cancel = cancel
        self._claimed = claimed
        self._task = Background(failed)
        self._member_at = -math.inf
        self.taken = 0
        """How many numbers were taken over, ever."""
        self.is_kept = False
        """Whether the last attempt failed because Postgres or the broker did not answer: others must mend that."""

    def begin(self, client: AIOKafkaConsumer, numbers: Collection[Number], *, just_assigned: bool) -> None:
        """Claim those of `numbers` that are claiming, instead of what is being claimed by now."""
        self.is_kept = False
        self._member_at = time.monotonic() if just_assigned else -math.inf
        self._task.begin(self._claim(client, numbers))

    def end(self) -> None:
        """Claim nothing more."""
        self._task.end()

    async def _claim(self, client: AIOKafkaConsumer, numbers: Collection[Number]) -> None:
        while waiting := [held for held in numbers if held.phase is Phase.CLAIMING]:
            # After a fence, what an older epoch still runs or holds must be gone before it is read again.
            await self._cancel([held.number for held in waiting])
            try:
                await positions.begin(client, waiting, kafka=self._kafka, group=self._worker.group)
                for held in waiting:
                    await self._sure_of_membership()
                    held.epoch = await self._ownership.claim(held.number)
                    self._lines.load(held.number, await self._parking.lines(held.number))
                    self._claimed()
                    held.change(Change.CLAIMED)
                    self.taken += 1
                    self.is_kept = False
            except (*POSTGRES_AWAY, KafkaError, LevelgateError) as error:
                self.is_kept = not isinstance(error, NoMember)
                log.warning("claim_failed", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
        log.info("partitions_claimed", partitions=sorted(n.number for n in numbers if n.phase is Phase.ACTIVE))

    async def _sure_of_membership(self) -> None:
        """Raise NoMember where the group has gone on without us, asking the broker where its word is not fresh.

        A worker that was frozen and wakes up does not know that yet: taking a number over then would fence its owner.
        """
        asked_at = time.monotonic()
        if asked_at - self._member_at < self._worker.session_timeout_s / 2:
            return
        if not await is_member(self._kafka, self._worker.group, self._name):
            raise NoMember("the group goes on without this worker, or is rebalancing")
        self._member_at = asked_at
