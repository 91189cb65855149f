"""What a worker knows of the partition numbers that are assigned to it. No I/O.

A number stands for that partition of every topic; it is claimed, paused and given back as one.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum

from aiokafka.structs import TopicPartition

from processors.offsets import OffsetTracker


class Phase(Enum):
    """Where a number is on its way: claiming → active → closing; odd ones never leave `ODD`."""

    CLAIMING = "claiming"
    ACTIVE = "active"
    CLOSING = "closing"
    ODD = "odd"


class Number:
    """One partition number: its topics' partitions, what was read of each and what is finished."""

    def __init__(self, number: int, partitions: Iterable[TopicPartition], phase: Phase) -> None:
        self.number = number
        self.phase = phase
        self.epoch = 0
        self.trackers = {tp: OffsetTracker() for tp in partitions}
        self.received: dict[TopicPartition, dict[int, datetime]] = {tp: {} for tp in self.trackers}
        self.unfinished = 0
        """Deliveries read and not finished, over all its partitions."""
        self._full = False

    def begin(self, tp: TopicPartition, start: int) -> None:
        """Read `tp` from `start` on, forgetting what was read of it before."""
        self.unfinished -= len(self.received[tp])
        self.trackers[tp] = OffsetTracker(start)
        self.received[tp] = {}

    def take(self, tp: TopicPartition, offset: int, received_at: datetime) -> bool:
        """Note that a record was read; False where it was read before."""
        if not self.trackers[tp].take(offset):
            return False
        self.received[tp][offset] = received_at
        self.unfinished += 1
        return True

    def finish(self, tp: TopicPartition, offset: int) -> None:
        """Note that a record is finished: each of its pairs is done, parked or dead in Postgres."""
        if self.received[tp].pop(offset, None) is not None:
            self.unfinished -= 1
            self.trackers[tp].finish(offset)

    def wants_pause(self, tp: TopicPartition, *, quota: int, max_gap: int) -> bool:
        """Whether to stop reading `tp` for now; a full number reads on when half of its quota is free again."""
        if self.phase is not Phase.ACTIVE:
            return True
        self._full = self.unfinished > quota // 2 if self._full else self.unfinished >= quota
        return self._full or self.trackers[tp].gap >= max_gap

    def lag(self, tp: TopicPartition, highwater: int | None) -> int:
        """How many records of `tp` are published and not finished; 0 while the broker has told no high-water mark."""
        done = self.trackers[tp].committable
        return max(0, highwater - done) if highwater is not None and done is not None else 0

    def oldest_received_at(self, tp: TopicPartition) -> datetime | None:
        """When the oldest unfinished delivery of `tp` was received."""
        return min(self.received[tp].values(), default=None)


def by_number(partitions: Iterable[TopicPartition], topics: Iterable[str]) -> dict[int, Number]:
    """Group an assignment by partition number; a number that lacks one of `topics` is odd (design §9.3)."""
    grouped: dict[int, set[TopicPartition]] = {}
    for tp in partitions:
        grouped.setdefault(tp.partition, set()).add(tp)
    wanted = set(topics)
    return {
        number: Number(number, tps, Phase.CLAIMING if {tp.topic for tp in tps} == wanted else Phase.ODD)
        for number, tps in grouped.items()
    }
