"""A delivery that no worker has read yet is found in the topics themselves."""

from datetime import UTC, datetime, timedelta

import pytest

from processors.recent import NotLookedThrough, find_recent
from tests.support.deliveries import delivery, publish
from tests.support.kafka_records import published


async def test_it_is_found_by_its_id_and_app_with_its_place_and_state(settings):
    accepted = delivery(settings.kafka, type="NoteCreate", tenant="location-1")
    quarantined = delivery(settings.kafka, tenant="location-2", reason="wrong_shape")
    older, too_old = delivery(settings.kafka), delivery(settings.kafka)
    now = datetime.now(UTC)
    await publish(settings.kafka, [too_old], at=now - timedelta(minutes=20))
    await publish(settings.kafka, [older], at=now - timedelta(minutes=10))
    await publish(settings.kafka, [delivery(settings.kafka) for _ in range(20)])
    await publish(settings.kafka, [accepted, quarantined])

    async def find(record, **options):
        body_bytes = settings.receiver.max_body_bytes
        return await find_recent(settings.kafka, body_bytes, record.envelope.id, **options)

    found = await find(accepted, app="demo")
    assert (found.state, found.topic, found.tenant) == ("accepted", accepted.topic, "location-1")
    assert found.received_at <= datetime.now(UTC) < found.received_at + timedelta(minutes=5)
    assert (await find(quarantined)).state == "quarantined"
    assert await find(accepted, app="other") is None
    assert (await find(older)).state == "accepted"
    assert await find(too_old) is None
    with pytest.raises(NotLookedThrough, match="not even the last minute"):
        await find(delivery(settings.kafka), within_s=0)


async def test_a_record_without_an_envelope_is_found_by_its_place(settings):
    stranger = delivery(settings.kafka)
    stranger.headers[:] = [("ce_id", b"\xff")]
    await publish(settings.kafka, [stranger])
    (record,) = await published(settings.kafka)

    place = f"{record.topic}-{record.partition}-0"
    found = await find_recent(settings.kafka, settings.receiver.max_body_bytes, place)

    assert found is not None
    assert (found.state, found.reason) == ("quarantined", "broken_envelope")
