"""What a worker knows of the partition numbers that are assigned to it. No I/O.

A number stands for that partition of every topic; it is claimed, paused and given back as one.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import datetime
from enum import Enum

import msgspec
from aiokafka.structs import TopicPartition

from processors.offsets import OffsetTracker
from processors.pairs import Record


class Phase(Enum):
    """Where a number is on its way through an assignment."""

    CLAIMING = "claiming"
    ACTIVE = "active"
    CLOSING = "closing"
    ODD = "odd"


class Change(Enum):
    """What happens to a number."""

    CLAIMED = "claimed"
    FENCED = "fenced"
    GIVEN_BACK = "given back"


_NEXT = {
    (Phase.CLAIMING, Change.CLAIMED): Phase.ACTIVE,
    (Phase.ACTIVE, Change.FENCED): Phase.CLAIMING,
    (Phase.CLAIMING, Change.GIVEN_BACK): Phase.CLOSING,
    (Phase.ACTIVE, Change.GIVEN_BACK): Phase.CLOSING,
    (Phase.ODD, Change.GIVEN_BACK): Phase.CLOSING,
}
"""What is not here changes nothing: a late word about a number that has gone on is no news."""


class _Read(msgspec.Struct):
    """A delivery that was read and is not finished."""

    received_at: datetime
    tenant: Hashable
    delivery: Hashable
    is_aside: bool = False
    """Whether it only waits to be written as parked: then it counts for no bound."""


class _Quota:
    """How much of some topics is read and unfinished, and whether that is too much."""

    def __init__(self) -> None:
        self.unfinished = 0
        self._is_full = False

    def is_full(self, most: int) -> bool:
        """Whether to stop reading; once full, until half of it is free again."""
        self._is_full = self.unfinished > most // 2 if self._is_full else self.unfinished >= most
        return self._is_full


class Number:
    """One partition number: its topics' partitions, what was read of each and what is finished.

    Replays have a quota of their own: what waits of one must not stop the reading of what is live.
    """

    def __init__(self, number: int, partitions: Iterable[TopicPartition], phase: Phase, *, replay: str) -> None:
        self.number = number
        self._phase = phase
        self.epoch = 0
        self.trackers = {tp: OffsetTracker() for tp in partitions}
        live, replays = _Quota(), _Quota()
        self._quota = {tp: replays if tp.topic == replay else live for tp in self.trackers}
        self._read: dict[TopicPartition, dict[int, _Read]] = {tp: {} for tp in self.trackers}
        self._of_tenant: Counter[Hashable] = Counter()
        self._of_delivery: Counter[Hashable] = Counter()

    @property
    def phase(self) -> Phase:
        """Where it is on its way; `change` alone moves it."""
        return self._phase

    def change(self, change: Change) -> bool:
        """Go on to the next phase; False where there is none for this change."""
        before = self._phase
        self._phase = _NEXT.get((before, change), before)
        return self._phase is not before

    @property
    def unfinished(self) -> int:
        """How many deliveries are read and not finished, over all its partitions."""
        return sum(map(len, self._read.values()))

    def begin(self, tp: TopicPartition, start: int) -> None:
        """Read `tp` from `start` on, forgetting what was read of it before."""
        for offset in list(self._read[tp]):
            self._forget(tp, offset)
        self.trackers[tp] = OffsetTracker(start)

    def take(self, tp: TopicPartition, record: Record) -> bool:
        """Note that a record was read; False where it was read before."""
        if not self.trackers[tp].take(record.offset):
            return False
        read = _Read(record.envelope.received_at, _tenant(record), _delivery(record))
        self._read[tp][record.offset] = read
        self._quota[tp].unfinished += 1
        self._of_tenant[read.tenant] += 1
        self._of_delivery[read.delivery] += 1
        return True

    def finish(self, tp: TopicPartition, offset: int) -> None:
        """Note that a record is finished: each of its pairs is done, parked or dead in Postgres."""
        if self._forget(tp, offset):
            self.trackers[tp].finish(offset)

    def set_aside(self, tp: TopicPartition, offset: int) -> None:
        """Note that a record takes no more turn in memory: it only has to be written."""
        read = self._read[tp].get(offset)
        if read is not None and not read.is_aside:
            read.is_aside = True
            self._quota[tp].unfinished -= 1
            _subtract(self._of_tenant, read.tenant)

    def is_backlog(self, record: Record, *, most: int) -> bool:
        """Whether a record that was taken is more than its tenant may have in memory."""
        return self._of_tenant[_tenant(record)] > most

    def is_single(self, record: Record) -> bool:
        """Whether a delivery is in memory once only: a copy must not be parked while the other one runs."""
        return self._of_delivery[_delivery(record)] == 1

    def wants_pause(self, tp: TopicPartition, *, quota: int, max_gap: int) -> bool:
        """Whether to stop reading `tp` for now; a full number reads on when half of its quota is free again."""
        return self.phase is not Phase.ACTIVE or self._quota[tp].is_full(quota) or self.trackers[tp].gap >= max_gap

    def lag(self, tp: TopicPartition, highwater: int | None) -> int:
        """How many records of `tp` are published and not finished; 0 while the broker has told no high-water mark."""
        done = self.trackers[tp].committable
        return max(0, highwater - done) if highwater is not None and done is not None else 0

    def oldest_received_at(self, tp: TopicPartition) -> datetime | None:
        """When the oldest unfinished delivery of `tp` was received."""
        return min((read.received_at for read in self._read[tp].values()), default=None)

    def _forget(self, tp: TopicPartition, offset: int) -> bool:
        read = self._read[tp].pop(offset, None)
        if read is None:
            return False
        _subtract(self._of_delivery, read.delivery)
        if not read.is_aside:
            self._quota[tp].unfinished -= 1
            _subtract(self._of_tenant, read.tenant)
        return True


def _subtract(counts: Counter[Hashable], key: Hashable) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _tenant(record: Record) -> Hashable:
    return record.envelope.app, record.envelope.tenant, record.run


def _delivery(record: Record) -> Hashable:
    return record.envelope.app, record.envelope.tenant, record.run, record.envelope.id


def by_number(partitions: Iterable[TopicPartition], topics: Iterable[str], *, replay: str) -> dict[int, Number]:
    """Group an assignment by partition number; a number that lacks one of `topics` is odd (design §9.3).

    `replay` is the one of them that replays come by.
    """
    grouped: dict[int, set[TopicPartition]] = {}
    for tp in partitions:
        grouped.setdefault(tp.partition, set()).add(tp)
    wanted = set(topics)
    return {
        number: Number(number, tps, Phase.CLAIMING if {tp.topic for tp in tps} == wanted else Phase.ODD, replay=replay)
        for number, tps in grouped.items()
    }
