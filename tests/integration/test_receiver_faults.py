"""The broker dies under load: the vendor is told to come again, and nothing is answered 200 that is not written."""

import asyncio
from collections import Counter

import pytest

from levelgate.broker import apply_topics
from tests.support.eventually import eventually
from tests.support.kafka_records import published
from tests.support.receiver import running_receiver, with_receiver
from tests.support.webhooks import webhook

pytest_plugins = ["tests.fixtures.receiver"]


@pytest.mark.expected_errors("^aiokafka")
async def test_nothing_is_answered_200_that_is_not_in_its_topic_when_the_broker_is_killed(own_kafka, receiver_settings):
    broker = await own_kafka()
    kafka = broker.settings()
    await apply_topics(kafka, receiver_settings.receiver.max_body_bytes)
    settings = with_receiver(receiver_settings, publish_timeout_s=1.0).model_copy(update={"kafka": kafka})
    async with running_receiver(settings) as receiver:
        accepted: set[str] = set()
        words: Counter[str] = Counter()
        stop = asyncio.Event()

        async def keep_sending(sender):
            number = 0
            while not stop.is_set():
                number += 1
                answer = await receiver.send(webhook(webhookId=f"{sender}-{number}", locationId=f"location{sender}"))
                words[answer.word] += 1
                if answer.status == 200:
                    accepted.add(answer.id)
                else:
                    assert (answer.status, answer.headers["Retry-After"]) == (429, "30")

        async with asyncio.TaskGroup() as senders:
            for sender in range(20):
                senders.create_task(keep_sending(sender))
            await eventually(lambda: len(accepted) > 500)
            await broker.kill()
            await eventually(lambda: words["unavailable"] > 20, within_s=20)
            await eventually(lambda: receiver.get("/readyz"), lambda answer: answer[0] == 503, within_s=20)
            await broker.start()
            before = len(accepted)
            await eventually(lambda: len(accepted) > before + 500, within_s=60)
            stop.set()
        await receiver.until_ready()
        assert set(words) == {"accepted", "unavailable"}
    assert accepted <= {record.id for record in await published(kafka)}
