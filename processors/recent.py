"""Looks for a delivery in the topics themselves: for `trace`, when the index has no row of it yet."""

import asyncio
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from levelgate.broker import client_options
from processors.deliveries import Trace
from processors.records import read
from schemas.settings import Kafka
from schemas.topics import Topics

LOOK_BACK = timedelta(minutes=15)

_POLL_MS = 500
_TIMEOUT_S = 30.0


async def find_recent(kafka: Kafka, delivery: str, *, app: str | None = None) -> Trace | None:
    """Return a delivery of the last 15 minutes as accepted (or quarantined), None where no topic has it.

    Reads from the time on to the topics' ends as of now, outside of any group. Raises KafkaError, TimeoutError.
    """
    topics = Topics(kafka)
    since_ms = int((datetime.now(UTC) - LOOK_BACK).timestamp() * 1000)
    async with (
        asyncio.timeout(_TIMEOUT_S),
        AIOKafkaConsumer(**client_options(kafka), enable_auto_commit=False, auto_offset_reset="earliest") as consumer,
    ):
        names = [name for name in topics.consumed() if name != topics.replay]
        existing = await consumer.topics()
        partitions = [
            TopicPartition(name, number)
            for name in names
            if name in existing
            for number in sorted(consumer.partitions_for_topic(name) or ())
        ]
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        left = {tp: ends[tp] for tp in partitions if starts[tp] is not None and starts[tp].offset < ends[tp]}
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
