import asyncio
import contextlib
import itertools

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry

from ingest.publisher import Publisher, Record, Unpublished
from levelgate.broker import apply_topics, client_options, partition_of
from schemas.metrics import ReceiverMetrics
from schemas.topics import Topics
from tests.support.eventually import eventually
from tests.support.kafka_records import published

BODY_BYTES = 1024 * 1024

# aiokafka says in its own log that a broker is gone; here that is the point.
broker_goes_away = pytest.mark.expected_errors("^aiokafka")


class Running:
    """A publisher, what it counts, and what it was handed."""

    def __init__(self, publisher, registry, kafka) -> None:
        self.publisher = publisher
        self.kafka = kafka
        self._registry = registry
        self._numbers = itertools.count()
        self.confirmed: list[bytes] = []

    @property
    def producer(self):
        return self.publisher._producer  # noqa: SLF001 -- its faults are provoked where no broker shows them on demand

    def record(self, key=b"tenant", value=None, family="contact") -> Record:
        value = value or f"body {next(self._numbers)}".encode()
        return Record(Topics(self.kafka).events(family), key, value, [("ce_id", b"x")], family)

    async def publish(self, record=None) -> str:
        """Publish, and return what became of it in one word."""
        record = record or self.record()
        try:
            await self.publisher.publish(record)
        except Unpublished as refused:
            return refused.reason
        self.confirmed.append(record.value)
        return "written"

    async def until_ready(self, within_s=30):
        await eventually(lambda: self.publisher.is_ready, within_s=within_s)

    async def until_written(self, within_s=60):
        await eventually(self.publish, lambda word: word == "written", within_s=within_s)

    def count(self, name, **labels) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0

    async def values(self) -> list[bytes]:
        return [record.value for record in await published(self.kafka)]


@contextlib.asynccontextmanager
async def running(kafka, *, ready=True, stop_within_s=5.0, timeout_s=2.0, give_up_s=6.0):
    registry = CollectorRegistry()
    publisher = Publisher(
        kafka, ReceiverMetrics(registry), max_body_bytes=BODY_BYTES, timeout_s=timeout_s, give_up_s=give_up_s
    )
    publisher.start()
    one = Running(publisher, registry, kafka)
    try:
        if ready:
            await one.until_ready()
        yield one
    finally:
        await publisher.stop(stop_within_s)


@contextlib.asynccontextmanager
async def admin_of(kafka):
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def test_a_confirmed_record_is_in_its_topic_with_key_value_and_headers(kafka):
    async with running(kafka) as one:
        assert await one.publish(one.record(key=b"tenant1", value=b'{"a": 1}')) == "written"
    (record,) = await published(kafka)
    assert (record.topic, record.key, record.value) == (Topics(kafka).events("contact"), b"tenant1", b'{"a": 1}')
    assert record.headers == {"ce_id": b"x"}
    assert record.partition == partition_of(b"tenant1", 3)


async def test_records_of_a_tenant_keep_the_order_in_which_they_came(kafka):
    async with running(kafka) as one:
        for _ in range(20):
            words = await asyncio.gather(*(one.publish(one.record(value=None)) for _ in range(50)))
            assert set(words) == {"written"}
        assert await one.values() == [f"body {number}".encode() for number in range(1000)]


async def test_the_webhooks_of_one_turn_share_a_batch(kafka):
    async with running(kafka) as one:
        sent = []
        producer = one.producer
        send_batch = producer.send_batch

        async def counting(batch, *args, **kwargs):
            sent.append(batch.record_count())
            return await send_batch(batch, *args, **kwargs)

        producer.send_batch = counting
        await asyncio.gather(*(one.publish() for _ in range(100)))
        assert sent == [100]


async def test_a_record_over_the_limit_is_refused_before_it_can_poison_its_partition(kafka):
    async with running(kafka) as one:
        assert await one.publish(one.record(value=b"x" * (BODY_BYTES + 20_000))) == "too_large"
        assert await one.publish() == "written"
        assert one.count("levelgate_producer_replacements_total") == 0
        assert one.count("levelgate_publish_failures_total", reason="too_large") == 1


async def test_the_largest_body_fits(kafka):
    async with running(kafka, timeout_s=10) as one:
        bodies = [bytes([65 + number]) * BODY_BYTES for number in range(4)]
        words = await asyncio.gather(*(one.publish(one.record(value=body)) for body in bodies))
        assert set(words) == {"written"}
        assert await one.values() == bodies


async def test_more_than_the_memory_allows_is_refused_at_once(kafka):
    async with running(kafka, timeout_s=20) as one:
        words = await asyncio.gather(*(one.publish(one.record(value=b"x" * BODY_BYTES)) for _ in range(80)))
        assert set(words) == {"written", "full"}
        assert words.count("full") == one.count("levelgate_publish_failures_total", reason="full")
        assert await one.publish() == "written"


async def test_a_batch_refused_for_good_costs_a_producer_and_no_partition(kafka):
    """aiokafka's own limit is not asked in `send_batch`: the broker refuses the batch, and the sequence is lost."""
    topic = Topics(kafka).events("contact")
    async with running(kafka) as one:
        assert await one.publish() == "written"
        async with admin_of(kafka) as admin:
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "1000"})]
            )
        large = one.record(value=b"x" * 5000)
        words = await asyncio.gather(one.publish(large), one.publish(one.record(family="invoice")))
        assert words[0] == "fatal"
        await one.until_written()
        assert one.count("levelgate_producer_replacements_total") >= 1
        values = await one.values()
        assert large.value not in values
        assert set(one.confirmed) <= set(values)


async def test_a_producer_whose_sequence_is_lost_is_replaced(kafka):
    async with running(kafka) as one:
        assert await one.publish() == "written"
        producer = one.producer
        for partition in range(3):
            place = TopicPartition(Topics(kafka).events("contact"), partition)
            producer._txn_manager.increment_sequence_number(place, 5)  # noqa: SLF001 -- as above
        assert await one.publish() == "fatal"
        await one.until_written()
        assert one.producer is not producer
        assert one.count("levelgate_producer_replacements_total") == 1
        assert sorted(await one.values()) == sorted(one.confirmed)


async def test_a_missing_topic_is_refused_and_not_made(kafka):
    topic = Topics(kafka).events("contact")
    async with admin_of(kafka) as admin:
        await admin.delete_topics([topic])
        async with running(kafka) as one:
            assert await one.publish() == "no_topic"
            assert topic not in await admin.list_topics()
            await apply_topics(kafka, BODY_BYTES)
            await one.until_written()


@broker_goes_away
async def test_it_starts_without_a_broker_and_is_ready_once_there_is_one(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY_BYTES)
    await broker.stop()
    async with running(kafka, ready=False, timeout_s=1.0) as one:
        assert await one.publish() == "timeout"
        assert not one.publisher.is_ready
        refused = asyncio.get_running_loop().create_task(one.publish())
        await asyncio.sleep(0)
        assert refused.done(), "waiting while nothing answers only piles up webhooks"
        assert refused.result() == "timeout"
        await broker.start()
        await one.until_ready(within_s=60)
        assert await one.publish() == "written"


@broker_goes_away
async def test_what_was_confirmed_is_there_after_the_broker_froze_and_came_back(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY_BYTES)
    async with running(kafka, timeout_s=1.0) as one:
        words: list[str] = []
        stop = asyncio.Event()

        async def keep_sending(tenant):
            while not stop.is_set():
                words.append(await one.publish(one.record(key=tenant)))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as senders:
            for number in range(20):
                senders.create_task(keep_sending(b"tenant%d" % number))
            await eventually(lambda: words.count("written") > 500)
            await broker.pause()
            await eventually(lambda: "timeout" in words, within_s=20)
            await eventually(lambda: not one.publisher.is_ready, within_s=20)
            before = len(one.confirmed)
            await broker.resume()
            await eventually(lambda: len(one.confirmed) > before + 500, within_s=60)
            stop.set()
        await one.until_ready()
        assert set(words) <= {"written", "timeout", "fatal"}
        values = await one.values()
        assert set(one.confirmed) <= set(values)


@broker_goes_away
async def test_a_batch_that_nobody_acknowledges_costs_its_producer(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY_BYTES)
    async with running(kafka, timeout_s=0.5, give_up_s=1.5) as one:
        await one.until_written()  # the leaders of new topics take a moment
        await broker.pause()
        assert await one.publish() == "timeout"
        await eventually(lambda: one.count("levelgate_producer_replacements_total") == 1, within_s=20)
        await broker.resume()
        await one.until_written()


@broker_goes_away
@pytest.mark.parametrize("way", ["kill", "pause"])
async def test_stopping_is_bounded_while_the_broker_is_away(own_kafka, way):
    """aiokafka's own stop() waits for batches that never expire."""
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY_BYTES)
    async with asyncio.timeout(None) as limit, running(kafka, timeout_s=0.5, stop_within_s=1.0) as one:
        await one.until_written()  # the leaders of new topics take a moment
        await (broker.kill() if way == "kill" else broker.pause())
        assert set(await asyncio.gather(*(one.publish(one.record(key=b"%d" % n)) for n in range(50)))) == {"timeout"}
        limit.reschedule(asyncio.get_running_loop().time() + 30)
