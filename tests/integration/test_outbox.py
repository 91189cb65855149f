"""Dead letters on their topic: what the broker refuses holds up no other."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from levelgate.broker import client_options
from processors.dead_letters import DeadLetters
from processors.outbox import Outbox
from schemas.topics import Topics
from tests.support.eventually import eventually

GROUP = "workers"
SMALL, LARGE = b"{}", bytes(range(256)) * 400
HEADERS = msgspec.msgpack.encode([("ce_id", b"delivery-1")])


async def die(pool, delivery, body, at):
    key = ("demo", "location-1", delivery, "live")
    await pool.execute("INSERT INTO held VALUES ($1, $2, $3, $4, 'contact', 0, 1, $5, $6, $7)", *key, HEADERS, body, at)
    await pool.execute(
        "INSERT INTO dead VALUES "
        "($1, $2, $3, $4, 'greet', 0, $5, 'contact', 0, 1, 'contact-1', 'ContactCreate', 1, '[]', '[]', $6)",
        *key, GROUP, at,
    )  # fmt: skip


async def limit(kafka, count):
    resource = ConfigResource(ConfigResourceType.TOPIC, Topics(kafka).dead, {"max.message.bytes": str(count)})
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        await admin.alter_configs([resource])
    finally:
        await admin.close()


async def test_a_letter_that_the_broker_refuses_is_passed_over_and_goes_out_when_it_can(settings, pool):
    started = datetime.now(UTC)
    await limit(settings.kafka, 10_000)
    for n, body in enumerate((SMALL, LARGE, SMALL)):
        await die(pool, f"delivery-{n}", body, started + timedelta(milliseconds=n))

    def outbox():
        letters = DeadLetters(pool, group=GROUP)
        return Outbox(settings.kafka, settings.receiver.max_body_bytes, letters, active=lambda: {0: 1})

    async def unpublished():
        return [r["delivery"] for r in await pool.fetch("SELECT delivery FROM dead WHERE published_at IS NULL")]

    async with (
        AIOKafkaConsumer(
            Topics(settings.kafka).dead, **client_options(settings.kafka), auto_offset_reset="earliest"
        ) as outside,
        asyncio.TaskGroup() as tasks,
    ):
        publishing = tasks.create_task(outbox().run())
        await eventually(unpublished, lambda left: left == ["delivery-1"], within_s=30)
        # The same one goes on: what dies later is not held up either.
        await die(pool, "delivery-3", SMALL, started)
        await eventually(unpublished, lambda left: left == ["delivery-1"], within_s=30)
        publishing.cancel()
        await limit(settings.kafka, 1_000_000)
        publishing = tasks.create_task(outbox().run())
        await eventually(unpublished, lambda left: left == [], within_s=30)
        publishing.cancel()
        published = [(await asyncio.wait_for(outside.getone(), 15)).value for _ in range(4)]

    assert published == [SMALL, SMALL, SMALL, LARGE]
