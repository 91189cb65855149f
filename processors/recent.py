"""Looks for a delivery in the topics themselves: for `trace`, when the index has no row of it yet."""

import asyncio
from datetime import UTC, datetime, timedelta

from aiokafka.structs import TopicPartition

from levelgate.broker import describe_topics, open_reader
from processors.deliveries import Trace
from processors.records import read
from schemas.settings import Kafka
from schemas.topics import Topics

LOOK_BACK = timedelta(minutes=15)

_POLL_MS = 500
_TIMEOUT_S = 30.0


async def find_recent(kafka: Kafka, max_body_bytes: int, delivery: str, *, app: str | None = None) -> Trace | None:
    """Return a delivery of the last 15 minutes as accepted (or quarantined), None where no topic has it.

    Reads from the time on to the topics' ends as of now, outside of any group. Raises KafkaError, TimeoutError.
    """
    topics = Topics(kafka)
    since_ms = int((datetime.now(UTC) - LOOK_BACK).timestamp() * 1000)
    names = [name for name in topics.consumed() if name != topics.replay]
    # A consumer without a subscription may have forgotten by now which partitions there are.
    counts = {each.name: each.partitions for each in await describe_topics(kafka, max_body_bytes)}
    partitions = [TopicPartition(name, number) for name in names for number in range(counts[name])]
    async with asyncio.timeout(_TIMEOUT_S), open_reader(kafka, max_body_bytes) as consumer:
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        left = {tp: ends[tp] for tp in partitions if starts[tp] is not None and starts[tp].offset < ends[tp]}
        if left:
            consumer.assign(list(left))
        for tp in left:
            consumer.seek(tp, starts[tp].offset)
        while left:
            for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for each in records:
                    record = read(each)
                    envelope = record.envelope
                    if envelope.id == delivery and app in (None, envelope.app):
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
                if records and tp in left and records[-1].offset + 1 >= left[tp]:
                    del left[tp]
    return None
