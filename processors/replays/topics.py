"""Reads events from their topics, outside of any group: from the cursor to the ends that were set at the beginning."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord, TopicPartition

from levelgate.broker import TopicState, describe_topics, partition_of
from processors.pairs import Record
from processors.records import read
from processors.replays.cursor import Cursor, Gap, Range, merged
from processors.replays.selection import Selection
from schemas.errors import LevelgateError
from schemas.settings import Kafka
from schemas.topics import Topics

_POLL_MS = 500
_POLL_RECORDS = 500
_CALL_TIMEOUT_S = 30.0

LATE = timedelta(hours=1)
"""How long after its receipt a record may have been published, at most: reading goes on for so long behind `until`."""


class NoSuchPartition(LevelgateError):
    """Offsets are chosen of a partition that its topic does not have."""


async def freeze(
    consumer: AIOKafkaConsumer, kafka: Kafka, max_body_bytes: int, selection: Selection
) -> tuple[Cursor, list[Gap]]:
    """Return what is to be read, up to the topics' ends as of now, and where retention was faster.

    Raises NoSuchPartition.
    """
    topics = Topics(kafka)
    # A consumer without a subscription may have forgotten by now which partitions there are.
    states = {each.name: each for each in await describe_topics(kafka, max_body_bytes)}
    if all(each.is_missing for each in states.values()):
        raise LevelgateError("Kafka has none of the topics: `levelgate topics show` lists what there is")
    for each in selection.offsets:
        name = topics.events(each.family)
        if each.partition >= states[name].partitions:
            raise NoSuchPartition(f"offsets {each}: {name} has {states[name].partitions} partitions, counted from 0")
    partitions = [
        TopicPartition(name, number)
        for name in map(topics.events, selection.families())
        for number in sorted(_numbers(selection, states[name].partitions))
    ]
    first, last, gaps = await _bounds(consumer, selection, partitions, states)
    ranges = []
    for tp in partitions:
        start, end = first[tp], last[tp]
        asked = [each for each in selection.offsets if (topics.events(each.family), each.partition) == tp]
        if selection.since is None and any(each.first < start for each in asked):
            gaps.append(Gap(tp.topic, tp.partition, None, start))
        wanted = [(each.first, each.last) for each in asked] if selection.offsets else [(start, None)]
        ranges += merged(  # asked for twice, offsets are read once
            Range(tp.topic, tp.partition, max(begin, start), end if to is None else min(to + 1, end))
            for begin, to in wanted
        )
    return Cursor(ranges=tuple(ranges)), gaps


def _numbers(selection: Selection, count: int) -> set[int]:
    """Return the partition numbers that can have what is meant: a tenant's events are all in one (design §9.7)."""
    numbers = set(range(count))
    if selection.tenants and count:
        numbers &= {partition_of(tenant.encode(), count) for tenant in selection.tenants}
    if selection.offsets:
        numbers &= {each.partition for each in selection.offsets}
    return numbers


async def _bounds(
    consumer: AIOKafkaConsumer,
    selection: Selection,
    partitions: list[TopicPartition],
    states: Mapping[str, TopicState],
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int], list[Gap]]:
    async with asyncio.timeout(_CALL_TIMEOUT_S):
        first = dict(await consumer.beginning_offsets(partitions))
        last = dict(await consumer.end_offsets(partitions))
        gaps = []
        if selection.since is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, _ms(selection.since)))
            for tp, at in found.items():
                if at is not None and at.offset == first[tp] > 0:
                    # Nothing older is left: whether something of the time asked for was, nobody can tell.
                    kept_from = datetime.fromtimestamp(at.timestamp / 1000, UTC)
                    gaps.append(Gap(tp.topic, tp.partition, kept_from, first[tp]))
                elif first[tp] == last[tp] > 0 and not _is_kept(states[tp.topic], selection.since):
                    gaps.append(Gap(tp.topic, tp.partition, None, first[tp]))
                first[tp] = last[tp] if at is None else at.offset
        if selection.until is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, _ms(selection.until + LATE)))
            last.update({tp: min(at.offset, last[tp]) for tp, at in found.items() if at is not None})
    return first, last, gaps


def _is_kept(topic: TopicState, since: datetime) -> bool:
    """Whether retention can't have taken what was published since then: most empty partitions have been idle."""
    if int(topic.config.get("retention.bytes", "-1")) >= 0:
        return False
    kept_ms = int(topic.config.get("retention.ms", "0"))  # the broker's own is not known here
    return kept_ms < 0 or since >= datetime.now(UTC) - timedelta(milliseconds=kept_ms)


def _ms(at: datetime) -> int:
    return max(0, int(at.timestamp() * 1000))


class TopicSource:
    """The events of the topics that a selection means; each partition's in order."""

    def __init__(self, consumer: AIOKafkaConsumer, selection: Selection, cursor: Cursor) -> None:
        self._consumer = consumer
        self._selection = selection
        self._waiting = list(cursor.ranges)
        self._left: dict[TopicPartition, Range] = {}
        self._given: tuple[TopicPartition, int] | None = None
        self.lost = 0
        """Records that retention took before they were read."""

    @property
    def cursor(self) -> Cursor:
        """What is left, from the first record on that was not said to be `passed`."""
        return Cursor(ranges=(*self._left.values(), *self._waiting))

    def passed(self) -> None:
        """Take note that the last record yielded needs no second reading."""
        if self._given is not None:
            self._move(*self._given)
            self._given = None

    async def read(self) -> AsyncGenerator[Record | None, None]:
        """Yield what fits; None whenever there is nothing for the moment, so that the reader can do other things."""
        while self._take_up():
            batches = await self._poll()
            for tp, records in batches.items():
                for each in records:
                    if tp not in self._left:
                        break
                    if each.offset < self._left[tp].end and (record := self._fitting(each)) is not None:
                        self._given = (tp, each.offset + 1)
                        yield record
                        self.passed()
                    else:
                        self._move(tp, each.offset + 1)
            if not batches:
                await self._pass_empty_ends()
            yield None

    def _take_up(self) -> bool:
        """Assign the next ranges, one of a partition at a time, when those before are read; False at the end."""
        # Never an empty assignment: see `broker.open_reader`.
        if not self._left and self._waiting:
            for each in self._waiting:
                self._left.setdefault(TopicPartition(each.topic, each.partition), each)
            self._waiting = [each for each in self._waiting if each not in self._left.values()]
            self._consumer.assign(list(self._left))
            for tp, each in self._left.items():
                self._consumer.seek(tp, each.next)
        return bool(self._left)

    async def _poll(self) -> "dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]":
        try:
            batches: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except OffsetOutOfRangeError as error:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                earliest = await self._consumer.beginning_offsets(list(error.args[0]))
            for tp, offset in earliest.items():
                if tp in self._left:
                    self.lost += max(0, min(offset, self._left[tp].end) - self._left[tp].next)
                    self._consumer.seek(tp, offset)
                    self._move(tp, offset)
            return {}
        return batches

    def _fitting(self, each: "ConsumerRecord[bytes, bytes]") -> Record | None:
        record = read(each)
        if not self._selection.fits(record.envelope):
            return None
        if not self._selection.handlers:
            return record
        envelope = msgspec.structs.replace(record.envelope, replay_handlers=self._selection.handlers)
        return msgspec.structs.replace(record, envelope=envelope)

    def _move(self, tp: TopicPartition, offset: int) -> None:
        left = self._left.get(tp)
        if left is None:
            return
        if offset >= left.end:
            del self._left[tp]
            self._consumer.pause(tp)
        else:
            self._left[tp] = msgspec.structs.replace(left, next=offset)

    async def _pass_empty_ends(self) -> None:
        # A range may end in what is never delivered (another writer's aborted transaction): the position passes it.
        for tp in list(self._left):
            self._move(tp, max(self._left[tp].next, await self._consumer.position(tp)))
