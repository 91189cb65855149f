import asyncio
import ssl

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import ProducerClosed
from pydantic import SecretStr

from levelgate.broker import apply_topics, client_options, describe_topics
from levelgate.producer import end_producer, open_producer, start_producer
from schemas.errors import LevelgateError
from schemas.settings import Kafka
from schemas.topics import Topics
from tests.support.eventually import eventually

BODY = 1024 * 1024


async def state_of(topic, kafka, body=BODY):
    return next(s for s in await describe_topics(kafka, body) if s.name == topic)


async def test_missing_topics_are_made_as_the_table_says(kafka):
    states = await describe_topics(kafka, BODY)
    assert [s.name for s in states] == [t.name for t in Topics(kafka).layout(BODY)]
    assert {s.partitions for s in states} == {3}
    assert all(dict(s.wanted_config).items() <= dict(s.config).items() for s in states)


async def test_topics_that_are_right_are_left_alone(kafka):
    changes = await apply_topics(kafka, BODY)
    assert (changes.created, changes.altered, changes.other_partitions) == ((), {}, {})


async def test_a_changed_limit_is_set_and_what_others_set_stays(kafka):
    topic = Topics(kafka).quarantine
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    theirs = {**(await state_of(topic, kafka)).wanted_config, "segment.ms": "7200000"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=theirs)])
    await admin.close()
    await eventually(lambda: state_of(topic, kafka), lambda state: state.config == theirs)

    changes = await apply_topics(kafka, 2 * BODY)

    assert set(changes.altered) == {t.name for t in Topics(kafka).layout(BODY)}
    state = await state_of(topic, kafka, 2 * BODY)
    assert state.config_changes == {}
    assert state.config["segment.ms"] == "7200000"


async def test_another_partition_count_is_reported_and_not_changed(kafka):
    more = kafka.model_copy(update={"partitions": 5})
    changes = await apply_topics(more, BODY)
    assert changes.other_partitions == {t.name: 3 for t in Topics(kafka).layout(BODY)}
    assert {s.partitions for s in await describe_topics(more, BODY)} == {3}


async def test_a_client_with_these_options_produces_and_consumes(kafka):
    topic = Topics(kafka).dead
    async with AIOKafkaProducer(**client_options(kafka), enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"body", key=b"key")
    async with AIOKafkaConsumer(topic, **client_options(kafka), auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    assert (record.key, record.value) == (b"key", b"body")


@pytest.mark.expected_errors("^aiokafka")
async def test_a_broker_that_is_away_is_told_in_one_sentence():
    with pytest.raises(LevelgateError, match=r"127\.0\.0\.1:1 did not answer .* LEVELGATE_KAFKA__BOOTSTRAP_SERVERS"):
        await describe_topics(Kafka(bootstrap_servers="127.0.0.1:1"), BODY)


def test_credentials_and_encryption_reach_the_client():
    options = client_options(
        Kafka(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="me",
            sasl_password=SecretStr("pass"),
        )
    )
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"] == "pass"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert isinstance(options["ssl_context"], ssl.SSLContext)
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED


@pytest.mark.expected_errors("^aiokafka")
async def test_a_producer_whose_broker_freezes_is_ended_all_the_same(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY)
    topic = Topics(kafka).dead
    before = asyncio.all_tasks()
    async with open_producer(kafka, BODY) as producer:
        await producer.send_and_wait(topic, b"acknowledged")
        await broker.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.send_and_wait(topic, b"given up"), 1)

    # Workers open one for each batch of dead letters: what it left behind would pile up.
    assert asyncio.all_tasks() == before


@pytest.mark.expected_errors("^aiokafka")
async def test_a_batch_that_is_to_be_sent_again_fails_quietly_when_its_producer_is_ended(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, BODY)
    producer = await start_producer(kafka, BODY, linger_ms=0)
    accumulator = producer._message_accumulator  # noqa: SLF001 -- the sender's part is played here, for the moment it takes
    await broker.pause()
    sent = await producer.send(Topics(kafka).dead, b"not acknowledged")
    await eventually(lambda: accumulator._pending_batches)  # noqa: SLF001 -- as above
    accumulator.reenqueue(*accumulator._pending_batches)  # noqa: SLF001 -- as above

    await end_producer(producer, within_s=0)

    with pytest.raises(ProducerClosed):
        await sent
