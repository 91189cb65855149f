"""Where reading goes on when the broker is asked and does not answer."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from levelgate.broker import apply_topics, client_options
from processors.partitions import Number, Phase
from processors.positions import skip_lost
from schemas.topics import Topics


@pytest.mark.expected_errors("^aiokafka", "offsets_lost")
async def test_a_broker_that_does_not_say_where_its_records_begin_is_asked_again_later(own_kafka):
    broker = await own_kafka()
    kafka, lost = broker.settings(), []
    await apply_topics(kafka, 1024)
    tp = TopicPartition(Topics(kafka).replay, 0)
    held = Number(0, [tp], Phase.ACTIVE, replay=tp.topic)
    held.begin(tp, 7)
    async with AIOKafkaConsumer(**client_options(kafka)) as client:
        client.assign([tp])

        async def skipped():
            return await skip_lost(client, {0: held}, {tp: 7}, lost=lambda *taken: lost.append(taken), timeout_s=1)

        await broker.pause()
        assert await skipped() is False
        assert (held.trackers[tp].committable, lost) == (7, [])
        await broker.resume()
        assert await skipped() is True
        assert (held.trackers[tp].committable, lost) == (0, [(tp, 0)])
