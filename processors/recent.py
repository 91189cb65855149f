"""Looks for a delivery in the topics themselves: for `trace`, when the index has no row of it yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from levelgate.broker import describe_topics, open_reader
from processors.deliveries import Trace
from processors.records import broken_id, read
from schemas.errors import LevelgateError
from schemas.settings import Kafka
from schemas.topics import Topics

LOOK_BACK = timedelta(minutes=15)

_STRETCHES = (timedelta(minutes=1), timedelta(minutes=5), LOOK_BACK)
"""How far back each look goes, after the one before it: what has no row yet is most likely new."""
_POLL_MS = 500
_WITHIN_S = 30.0
_ANSWER_TIMEOUT_S = 10.0


class NotLookedThrough(LevelgateError):
    """The topics got more in the last 15 minutes than could be looked through in the time."""


async def find_recent(
    kafka: Kafka, max_body_bytes: int, delivery: str, *, app: str | None = None, within_s: float = _WITHIN_S
) -> Trace | None:
    """Return a delivery of the last 15 minutes as accepted (or quarantined), None where no topic has it.

    Reads the newest minutes first, up to the topics' ends as of now, outside of any group. Raises KafkaError,
    TimeoutError where the broker does not answer, NotLookedThrough when the time was up before all was read.
    """
    topics = Topics(kafka)
    now = datetime.now(UTC)
    deadline = time.monotonic() + within_s
    names = [name for name in topics.consumed() if name != topics.replay]
    # A consumer without a subscription may have forgotten by now which partitions there are.
    counts = {each.name: each.partitions for each in await describe_topics(kafka, max_body_bytes)}
    partitions = [TopicPartition(name, number) for name in names for number in range(counts[name])]
    async with open_reader(kafka, max_body_bytes) as consumer:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            ends = await consumer.end_offsets(partitions)
        looked_through = timedelta()
        for back in _STRETCHES:
            starts = await _starts(consumer, ends, now - back)
            try:
                async for records in _read(consumer, starts, ends, deadline):
                    if found := _find(records, delivery, app):
                        return found
            except _TimeIsUp:
                raise NotLookedThrough(_told(looked_through, within_s)) from None
            ends, looked_through = starts, back
    return None


class _TimeIsUp(Exception):
    """The deadline has passed."""


async def _starts(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], since: datetime
) -> dict[TopicPartition, int]:
    """Return where each partition's records from a time on begin, its end where there are none before that."""
    async with asyncio.timeout(_ANSWER_TIMEOUT_S):
        found = await consumer.offsets_for_times(dict.fromkeys(ends, int(since.timestamp() * 1000)))
    return {tp: min(found[tp].offset, end) if found[tp] is not None else end for tp, end in ends.items()}


async def _read(
    consumer: AIOKafkaConsumer,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    deadline: float,
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Yield the records from each partition's start to its end, and maybe some more. Raises _TimeIsUp, TimeoutError."""
    left = {tp: end for tp, end in ends.items() if starts[tp] < end}
    if left:
        consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, starts[tp])
    heard_at = time.monotonic()
    while left:
        now = time.monotonic()
        if now > deadline:
            raise _TimeIsUp
        if now - heard_at > _ANSWER_TIMEOUT_S:
            raise TimeoutError
        for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
            heard_at = time.monotonic()
            yield records
            if records and tp in left and records[-1].offset + 1 >= left[tp]:
                del left[tp]
                consumer.pause(tp)


def _find(records: Sequence[ConsumerRecord], delivery: str, app: str | None) -> Trace | None:
    # A header's bytes are compared before anything is parsed: at 1,000 events a second, 15 minutes are 900,000.
    header = ("ce_id", delivery.encode(errors="replace"))
    for each in records:
        if header in each.headers or delivery == broken_id(each):
            found = _trace(each)
            if found.id == delivery and app in (None, found.app):
                return found
    return None


def _trace(consumed: ConsumerRecord) -> Trace:
    record = read(consumed)
    envelope = record.envelope
    return Trace(
        id=envelope.id,
        app=envelope.app,
        type=envelope.type,
        tenant=envelope.tenant,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_at=envelope.received_at,
        state="quarantined" if envelope.reason else "accepted",
        reason=envelope.reason,
    )


def _told(looked_through: timedelta, within_s: float) -> str:
    minutes = int(looked_through.total_seconds()) // 60
    part = {0: "not even the last minute", 1: "the last minute"}.get(minutes, f"the last {minutes} minutes")
    return (
        f"unknown delivery so far: the index has no row of it, and in {within_s:.0f} s {part} of the topics could be "
        f"looked through, of {LOOK_BACK.seconds // 60} minutes. It has a row when a worker has read it: try again then"
    )
