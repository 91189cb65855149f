"""What is in a test's topics, read back."""

from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from levelgate.broker import client_options
from schemas.envelope import Envelope, from_headers
from schemas.settings import Kafka
from schemas.topics import Topics


class Published:
    """One record."""

    def __init__(self, record) -> None:
        self.topic = record.topic
        self.partition = record.partition
        self.key = record.key
        self.value = record.value
        self.headers = dict(record.headers)

    @property
    def envelope(self) -> Envelope:
        return from_headers(self.headers.items())

    @property
    def id(self) -> str:
        return self.envelope.id


async def published(kafka: Kafka, *, since: dict[TopicPartition, int] | None = None) -> list[Published]:
    """Every record of every topic (after the offsets `since`), in order within a partition."""
    async with _consumer(kafka) as (consumer, places):
        ends = await consumer.end_offsets(places)
        starts = since or dict.fromkeys(places, 0)
        for place in places:
            consumer.seek(place, starts[place])
        left = {place for place in places if ends[place] > starts[place]}
        records = []
        while left:
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                records += batch
                if batch[-1].offset + 1 >= ends[place]:
                    left.discard(place)
        return [Published(record) for record in records]


async def ends_of(kafka: Kafka) -> dict[TopicPartition, int]:
    """Where the next record of each partition will be."""
    async with _consumer(kafka) as (consumer, places):
        return dict(await consumer.end_offsets(places))


@asynccontextmanager
async def _consumer(kafka: Kafka):
    consumer = AIOKafkaConsumer(**client_options(kafka), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        topics = [topic.name for topic in Topics(kafka).layout(1024 * 1024)]
        places = [TopicPartition(topic, partition) for topic in topics for partition in range(kafka.partitions)]
        consumer.assign(places)
        yield consumer, places
    finally:
        await consumer.stop()
