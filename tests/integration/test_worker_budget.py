"""A tenant's flood under the vendor's limits, end to end: no call that would be refused, and every event in the end."""

import pytest
from pydantic import SecretStr

from levelgate.highlevel.oauth import Grant
from processors.deliveries import states, trace
from processors.handlers import contact
from processors.registry import marked
from schemas.ids import AppName, CompanyId, LocationId
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.highlevel import our_side
from tests.support.workers import quick, working

LOCATION = "loc-of-the-test-0001"

pytestmark = pytest.mark.expected_errors("^aiokafka")


async def test_a_tenants_flood_causes_no_429_and_waiting_uses_up_no_attempt(settings, simulator, pool):
    settings = simulator.point(quick(settings, group=f"budget-{settings.kafka.topic_prefix}", max_attempts=1))
    simulator.limit(burst=20, interval_s=1.0)
    records = []
    for number in range(70):
        entity = f"con{number:017}"
        simulator.put("contact", LOCATION, {"id": entity, "locationId": LOCATION})
        records.append(delivery(settings.kafka, type="ContactUpdate", tenant=LOCATION, entity=entity))
    async with our_side(settings) as ours:
        token = SecretStr(simulator.grant(LOCATION)["access_token"])
        grant = Grant(access_token=token, level="location", company=CompanyId("company"), location=LocationId(LOCATION))
        await ours.tokens.store_grant(AppName("demo"), grant)
    await publish(settings.kafka, records)
    async with working(settings, *marked(contact, built_in=True)):
        ids = [record.envelope.id for record in records]
        await eventually(
            lambda: states(pool, ids),
            lambda seen: len(seen) == len(ids) and set(seen.values()) == {"handled"},
            within_s=60,
        )

    assert simulator.limited == 0
    assert simulator.calls("GET /contacts/{contactId}") == len(records)
    (found,) = await trace(pool, ids[-1])
    assert [handler.attempts for handler in found.handlers] == [1]
    assert await pool.fetchval("SELECT count(*) FROM mirror_contact") == len(records)
