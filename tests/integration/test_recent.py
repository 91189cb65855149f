"""A delivery that no worker has read yet is found in the topics themselves."""

from datetime import UTC, datetime, timedelta

from processors.recent import find_recent
from tests.support.deliveries import delivery, publish


async def test_it_is_found_by_its_id_and_app_with_its_place_and_state(settings):
    accepted = delivery(settings.kafka, type="NoteCreate", tenant="location-1")
    quarantined = delivery(settings.kafka, tenant="location-2", reason="wrong_shape")
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
    assert await find(delivery(settings.kafka)) is None
