"""Every documented sample can be sent, and what it tells of can be read again through the simulated API."""

from typing import Any

import aiohttp
import orjson
import pytest

from levelgate.simulator.consent import DEMO_COMPANY
from levelgate.simulator.seeding import sample_message_id
from schemas.catalogue import CATALOGUE, entity_of, tenant_of
from schemas.samples import Sample, samples

SAMPLES = samples()


def object_of(sample: Sample) -> dict[str, Any]:
    return sample.body[0] if isinstance(sample.body, list) else sample.body


def the_path(sample):
    """Return the path and query that re-read what the sample tells of, or None where no sync handler does."""
    body = sample.body
    event_type = CATALOGUE[sample.type]
    if isinstance(body, list):
        return None
    entity, tenant = entity_of(event_type, body), tenant_of(event_type, body)
    alt, location = {"altId": tenant, "altType": "location"}, {"locationId": tenant}
    return {
        "contact": (f"/contacts/{entity}", {}),
        "note": (f"/contacts/{body.get('contactId')}/notes/{entity}", {}),
        "task": (f"/contacts/{body.get('contactId')}/tasks/{entity}", {}),
        "opportunity": (f"/opportunities/{entity}", {}),
        "appointment": (f"/calendars/events/appointments/{entity}", {}),
        "location": (f"/locations/{tenant}", {}),
        "user": (f"/users/{entity}", {}),
        "conversation": (f"/conversations/{entity}", {}),
        "message": (f"/conversations/messages/{sample_message_id(body)}", {}),
        "order": (f"/payments/orders/{entity}", alt),
        "invoice": (f"/invoices/{entity}", alt),
        "product": (f"/products/{entity}", location),
        "price": (f"/products/{body.get('product')}/price/{entity}", location),
    }.get(event_type.family)


READ_AGAIN = [sample for sample in SAMPLES if the_path(sample)]


def test_all_families_of_the_sync_handlers_are_among_the_samples():
    assert len({CATALOGUE[sample.type].family for sample in READ_AGAIN}) == 13


@pytest.fixture
async def http(simulator):
    async with aiohttp.ClientSession(simulator.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
def receiver(simulator, recording_receiver):
    simulator.send_to(recording_receiver.url)
    return recording_receiver


async def test_every_samples_entity_can_be_read_under_its_tenant_after_seeding(http, simulator):
    async with http.post("/_simulator/seed") as response:
        assert response.status == 200
    for sample in READ_AGAIN:
        tenant = tenant_of(CATALOGUE[sample.type], object_of(sample))
        headers = {"Authorization": f"Bearer {simulator.grant(tenant)['access_token']}", "Version": "2021-07-28"}
        path, query = the_path(sample)
        async with http.get(path, params=query, headers=headers) as response:
            assert response.status == 200, (sample.name, await response.text())


async def test_an_sms_without_a_message_id_is_found_in_its_conversation(http, simulator):
    simulator.seed()
    bodies = [object_of(sample) for sample in SAMPLES if sample.type == "InboundMessage"]
    body = next(each for each in bodies if "messageId" not in each)
    headers = {
        "Authorization": f"Bearer {simulator.grant(body['locationId'])['access_token']}",
        "Version": "2021-04-15",
    }
    async with http.get(f"/conversations/{body['conversationId']}/messages", headers=headers) as response:
        nested = (await response.json())["messages"]
    assert [message["body"] for message in nested["messages"]] == [body["body"]]


async def test_seeding_twice_changes_nothing(http, simulator):
    async with http.post("/_simulator/seed") as response:
        first = await response.json()
    assert first["created"] > 20
    store = simulator.vendor.store
    bodies = {kind: dict(store.all(kind)) for kind in store.counts()}
    async with http.post("/_simulator/seed") as response:
        second = await response.json()
    assert second == {"created": 0, "entities": first["entities"]}
    assert {kind: dict(store.all(kind)) for kind in store.counts()} == bodies


async def test_all_locations_of_the_samples_belong_to_the_demo_agency(simulator):
    owners = {entry.body["companyId"] for _, entry in simulator.vendor.store.all("location")}
    assert owners == {DEMO_COMPANY}
    tenants = {tenant_of(CATALOGUE[sample.type], object_of(sample)) for sample in SAMPLES}
    assert tenants - {DEMO_COMPANY} <= {key for key, _ in simulator.vendor.store.all("location")}


async def test_every_sample_is_sent_as_a_new_webhook_with_its_name_where_the_receiver_finds_it(
    http, simulator, receiver
):
    lines = [
        orjson.loads(line) async for line in (await http.post("/_simulator/samples", json={"app": "demo"})).content
    ]
    *sent, done = lines
    assert [line["name"] for line in sent] == [sample.name for sample in SAMPLES]
    # The demo app of the tests is no conversation provider.
    skipped = [line for line in sent if "skipped" in line]
    assert [line["type"] for line in skipped] == ["ProviderOutboundMessage"]
    assert done == {
        "done": True,
        "sent": len(SAMPLES) - 1,
        "accepted": len(SAMPLES) - 1,
        "retried": 0,
        "failed": 0,
        "skipped": 1,
    }
    assert len({line["id"] for line in sent if "id" in line}) == len(SAMPLES) - 1
    for sample, post in zip((each for each in SAMPLES if not each.provider), receiver.posts, strict=True):
        assert post.path == f"/webhooks/demo/{sample.type}" if sample.in_path else "/webhooks/demo"
        body, documented = post.body, sample.body
        if isinstance(documented, list):
            assert len({each["webhookId"] for each in body}) == 1
            body, documented = body[0], documented[0]
        stamped = {"appId", "webhookId", "timestamp", "versionId"}
        assert body["appId"] == "66f0c1d2e3a4b5968778695a"
        assert {name: value for name, value in body.items() if name not in stamped} == {
            name: value for name, value in documented.items() if name not in stamped
        }
