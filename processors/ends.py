"""How far the partitions go by the broker's own word, asked now and then beside the fetching.

A fetch loop that has died gets no answers and raises nothing: by its last high-water mark a worker that had read
everything would look idle for ever.
"""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from schemas.topics import Topics

_EVERY_S = 30.0
_CALL_TIMEOUT_S = 10.0


class Ends:
    """The end offsets of what is assigned; `run` is its task, often enough for a watchdog of `stalled_after_s`."""

    def __init__(self, topics: Topics, *, stalled_after_s: float) -> None:
        self._every_s = min(_EVERY_S, stalled_after_s / 4)
        self._any = TopicPartition(topics.replay, 0)
        self._ends: dict[TopicPartition, int] = {}
        self.is_answered = False
        """Whether the broker answered the last question."""

    def of(self, tp: TopicPartition) -> int | None:
        """Return the offset behind the last record of `tp` when it was last asked for; None before that."""
        return self._ends.get(tp)

    async def run(self, client: AIOKafkaConsumer) -> None:
        """Ask until cancelled: one request for all partitions of a broker."""
        while True:
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    self._ends = await client.end_offsets(client.assignment() or {self._any})
            except (KafkaError, TimeoutError):
                self.is_answered = False
            else:
                self.is_answered = True
            await asyncio.sleep(self._every_s)
