"""The built-in handlers against the simulator and a real Postgres: the mirror ends as the vendor has it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from levelgate import Delivery
from levelgate.highlevel.api import Api
from levelgate.highlevel.client import ApiCall
from levelgate.highlevel.oauth import Grant
from processors.context import HandlerContext
from processors.handlers import BUILT_IN, LIFECYCLE, SYNC
from processors.registry import Registry, marked
from schemas.catalogue import CATALOGUE, entity_of, tenant_of
from schemas.errors import ApiUnavailable, InstallationMissing, Permanent
from schemas.events import Event, decode
from schemas.ids import AppName, CompanyId, DeliveryId, LocationId, TenantId
from schemas.logs import get_logger
from schemas.samples import samples
from tests.support.eventually import eventually
from tests.support.highlevel import our_side

APP = AppName("demo")
LOCATION = "loc000000000000000001"
CONTACT = {"id": "con000000000000000001", "locationId": LOCATION, "firstName": "Ada"}
REGISTRY = Registry(handler for module in BUILT_IN for handler in marked(module, built_in=True))
FAMILIES = {module.__name__.rpartition(".")[2] for module in SYNC}
SYNCED = [
    sample for sample in samples() if CATALOGUE[sample.type].family in FAMILIES and REGISTRY.for_type(sample.type)
]
RECEIVED_AT = datetime.now(UTC)


@pytest.fixture
def settings(simulator, database_url):
    return simulator.settings.model_copy(update={"database_url": SecretStr(database_url)})


@pytest.fixture
async def ours(settings):
    async with our_side(settings) as ours:
        yield ours


@pytest.fixture
async def agency(ours, simulator):
    """The app is installed by the agency, in bulk; every location of the samples has it."""
    answer = simulator.grant()
    grant = Grant(
        access_token=SecretStr(answer["access_token"]),
        refresh_token=SecretStr(answer["refresh_token"]),
        level="company",
        company=CompanyId(answer["companyId"]),
        is_bulk=True,
    )
    await ours.tokens.install_bulk(APP, grant)
    return TenantId(answer["companyId"])


@pytest.fixture
async def location(ours, agency, simulator):
    """One installed location with a contact."""
    simulator.install(LOCATION)
    await ours.tokens.record_install(APP, LocationId(LOCATION), CompanyId(agency))
    simulator.put("contact", LOCATION, CONTACT)
    return TenantId(LOCATION)


class Handling:
    """Runs the built-in handlers of an event as a worker would, one after another."""

    def __init__(self, ours) -> None:
        self._ours = ours
        self.calls: list[ApiCall] = []

    async def __call__(self, wire: str, body: dict[str, Any], *, received_at: datetime = RECEIVED_AT) -> None:
        event_type = CATALOGUE[wire]
        tenant = tenant_of(event_type, body)
        assert tenant is not None
        event: Event = decode(event_type, body)
        delivery = Delivery(
            id=DeliveryId("d"),
            app=APP,
            tenant=tenant,
            type=wire,
            entity=entity_of(event_type, body),
            received_at=received_at,
            attempt=1,
            element=0,
            replay_id=None,
        )
        ctx = HandlerContext(
            api=Api(self._ours.client, APP, tenant, self.calls.append),
            db=self._ours.pool,
            log=get_logger("test"),
            delivery=delivery,
            idempotency_key="k",
            installations=self._ours.tokens,
        )
        handlers = REGISTRY.for_type(wire)
        assert handlers, f"no handler for {wire}"
        for handler in handlers:
            await handler.function(event, ctx)


@pytest.fixture
def handle(ours):
    return Handling(ours)


@pytest.fixture
def mirrored(pool):
    async def read(kind: str, tenant: str = LOCATION) -> dict[str, dict[str, Any]]:
        rows = await pool.fetch("SELECT id, body FROM mirror WHERE kind = $1 AND tenant = $2", kind, tenant)
        return {row["id"]: json.loads(row["body"]) for row in rows}

    return read


def contact_event(**fields) -> dict[str, Any]:
    return {"locationId": LOCATION, "id": CONTACT["id"], **fields}


# All documented events


def test_every_event_of_a_synced_family_has_a_handler():
    without = {name for name, event in CATALOGUE.items() if event.family in FAMILIES and not REGISTRY.for_type(name)}
    assert without == {"ProviderOutboundMessage"}, "which is the channel's own delivery, not an entity's change"
    assert {handler.name.rpartition(".")[0].rpartition(".")[2] for handler in REGISTRY.handlers} == {
        module.__name__.rpartition(".")[2] for module in LIFECYCLE + SYNC
    }


async def test_every_sample_leaves_the_mirror_as_the_vendor_has_it(agency, simulator, handle, pool):
    simulator.seed()
    simulator.limit(burst=10_000)
    for sample in SYNCED:
        assert isinstance(sample.body, dict)
        await handle(sample.type, sample.body)
        kind = CATALOGUE[sample.type].family
        tenant = tenant_of(CATALOGUE[sample.type], sample.body)
        rows = await pool.fetch("SELECT id, body FROM mirror WHERE kind = $1 AND tenant = $2", kind, tenant)
        if sample.type.endswith("Delete"):
            gone = entity_of(CATALOGUE[sample.type], sample.body)
            assert gone not in {row["id"] for row in rows}, sample.name
            continue
        assert rows, sample.name
        for row in rows:
            entry = simulator.vendor.store.get(kind, row["id"])
            assert json.loads(row["body"]) == entry.body, sample.name
    kinds = {row["kind"] for row in await pool.fetch("SELECT DISTINCT kind FROM mirror")}
    assert kinds == FAMILIES


# Semantics, on contacts


async def test_what_is_kept_is_what_the_api_says_not_what_the_event_says(location, handle, mirrored):
    await handle("ContactCreate", contact_event(firstName="old news"))
    assert (await mirrored("contact"))[CONTACT["id"]]["firstName"] == "Ada"


async def test_a_change_replaces_and_a_repetition_changes_nothing(location, simulator, handle, mirrored):
    await handle("ContactCreate", contact_event())
    simulator.put("contact", LOCATION, CONTACT | {"firstName": "Grace"})
    for _ in range(2):
        await handle("ContactUpdate", contact_event())
    kept = await mirrored("contact")
    assert list(kept) == [CONTACT["id"]]
    assert kept[CONTACT["id"]]["firstName"] == "Grace"


async def test_a_deleted_entity_leaves_the_mirror_by_its_event_or_by_a_404(location, simulator, handle, mirrored):
    await handle("ContactCreate", contact_event())
    await handle("ContactDelete", contact_event())
    assert await mirrored("contact") == {}
    await handle("ContactCreate", contact_event())
    simulator.remove("contact", CONTACT["id"])
    await handle("ContactUpdate", contact_event())
    assert await mirrored("contact") == {}


async def test_of_two_reads_the_newer_one_wins_whichever_is_written_last(location, simulator, handle, mirrored):
    simulator.fault("slow", "/contacts/", delay_s=0.3)
    early = asyncio.create_task(handle("ContactCreate", contact_event()))
    await eventually(lambda: not simulator.vendor.faults._waiting)  # noqa: SLF001 -- the early read is under way
    simulator.put("contact", LOCATION, CONTACT | {"firstName": "Grace"})
    await handle("ContactUpdate", contact_event())
    simulator.put("contact", LOCATION, CONTACT | {"firstName": "what the slow answer says"})
    await early
    assert (await mirrored("contact"))[CONTACT["id"]]["firstName"] == "Grace"


async def test_a_failing_vendor_changes_nothing_and_is_passed_on(location, simulator, handle, mirrored):
    await handle("ContactCreate", contact_event())
    simulator.fault("error", "/contacts/", status=500)
    with pytest.raises(ApiUnavailable):
        await handle("ContactUpdate", contact_event())
    assert len(await mirrored("contact")) == 1


async def test_a_tenant_without_an_installation_waits(agency, handle):
    with pytest.raises(InstallationMissing):
        await handle("ContactCreate", contact_event())


async def test_an_event_that_names_no_entity_can_not_be_handled(location, handle):
    for wire in ("ContactCreate", "ContactDelete"):
        with pytest.raises(Permanent, match="names no contact"):
            await handle(wire, {"locationId": LOCATION})


async def test_text_that_postgres_can_not_hold_does_not_stop_the_entity(location, simulator, handle, mirrored):
    odd = {"firstName": "A\x00da", "\x00": ["\x00", {"a": "\\u0000"}]}
    simulator.put("contact", LOCATION, CONTACT | odd)
    await handle("ContactCreate", contact_event())
    kept = (await mirrored("contact"))[CONTACT["id"]]
    assert kept["firstName"] == "A\ufffdda"
    assert kept["\ufffd"] == ["\ufffd", {"a": "\\u0000"}]


async def test_no_content_is_logged(location, simulator, handle):
    simulator.put("contact", LOCATION, CONTACT | {"firstName": "marked-secret"})
    with capture_logs() as logs:
        await handle("ContactCreate", contact_event(firstName="marked-secret"))
        with pytest.raises(Permanent):
            await handle("NoteCreate", {"locationId": LOCATION, "id": "n", "body": "marked-secret"})
    assert "marked-secret" not in str(logs)


async def test_one_entity_takes_one_call(location, handle):
    await handle("ContactCreate", contact_event())
    assert [(call.method, call.path, call.status) for call in handle.calls] == [
        ("GET", f"/contacts/{CONTACT['id']}", 200)
    ]


# Families with manners of their own


async def test_a_task_without_its_contact_is_found_by_the_search(location, simulator, handle, mirrored):
    for number in range(150):
        simulator.put("task", LOCATION, {"id": f"t{number}", "title": "same", "contactId": CONTACT["id"]})
    await handle("TaskCreate", {"locationId": LOCATION, "id": "t140", "title": "same"})
    await handle("TaskCreate", {"locationId": LOCATION, "id": "t141", "title": "renamed meanwhile"})
    assert set(await mirrored("task")) == {"t140", "t141"}


async def test_a_known_task_without_its_contact_needs_no_search(location, simulator, handle, mirrored):
    simulator.put("task", LOCATION, {"id": "t1", "title": "a", "contactId": CONTACT["id"]})
    await handle("TaskCreate", {"locationId": LOCATION, "id": "t1", "contactId": CONTACT["id"]})
    simulator.put("task", LOCATION, {"id": "t1", "title": "b", "contactId": CONTACT["id"]})
    await handle("TaskComplete", {"locationId": LOCATION, "id": "t1"})
    assert (await mirrored("task"))["t1"]["title"] == "b"
    assert simulator.calls("POST /locations/{locationId}/tasks/search") == 0


async def test_a_task_that_is_nowhere_is_gone(location, simulator, handle, mirrored):
    await handle("TaskCreate", {"locationId": LOCATION, "id": "t1", "title": "x"})
    assert await mirrored("task") == {}


async def test_a_search_for_a_task_does_not_eat_the_whole_budget(location, simulator, handle):
    for number in range(2100):
        simulator.put("task", LOCATION, {"id": f"t{number}", "title": "same", "contactId": CONTACT["id"]})
    with pytest.raises(Permanent, match="names no contact"):
        await handle("TaskCreate", {"locationId": LOCATION, "id": "other"})
    assert simulator.calls("POST /locations/{locationId}/tasks/search") == 20


async def test_a_known_note_or_price_without_its_parent_is_read_under_the_one_that_is_known(
    location, simulator, handle, mirrored
):
    note = {"id": "n1", "contactId": CONTACT["id"], "body": "a"}
    simulator.put("note", LOCATION, note)
    simulator.put("product", LOCATION, {"_id": "p1", "locationId": LOCATION})
    simulator.put("price", LOCATION, {"_id": "pr1", "product": "p1", "locationId": LOCATION, "amount": 1})
    await handle("NoteCreate", {"locationId": LOCATION, "id": "n1", "contactId": CONTACT["id"]})
    await handle("PriceCreate", {"locationId": LOCATION, "_id": "pr1", "product": "p1"})
    simulator.put("note", LOCATION, note | {"body": "b"})
    await handle("NoteUpdate", {"locationId": LOCATION, "id": "n1"})
    await handle("PriceUpdate", {"locationId": LOCATION, "_id": "pr1"})
    assert (await mirrored("note"))["n1"]["body"] == "b"
    assert (await mirrored("price"))["pr1"]["amount"] == 1


def put_messages(simulator, count: int) -> None:
    simulator.put("conversation", LOCATION, {"id": "c1", "locationId": LOCATION, "contactId": CONTACT["id"]})
    for number in range(count):
        dated = f"2024-05-08T12:{number:02}:00.000Z"
        simulator.put("message", LOCATION, {"id": f"m{number}", "conversationId": "c1", "dateAdded": dated})


async def test_a_message_is_read_by_the_best_id_that_it_names(location, simulator, handle, mirrored):
    put_messages(simulator, 3)
    message = {"locationId": LOCATION, "conversationId": "c1"}
    await handle("InboundMessage", message | {"messageId": "m0", "emailMessageId": "m1"})
    assert set(await mirrored("message")) == {"m0"}
    await handle("OutboundMessage", message | {"emailMessageId": "m1"})
    assert set(await mirrored("message")) == {"m0", "m1"}
    assert [call.path for call in handle.calls] == ["/conversations/messages/m0", "/conversations/messages/email/m1"]


async def test_a_message_without_an_id_brings_the_latest_of_its_conversation(location, simulator, handle, mirrored):
    put_messages(simulator, 30)
    await handle("InboundMessage", {"locationId": LOCATION, "conversationId": "c1"})
    assert set(await mirrored("message")) == {f"m{number}" for number in range(10, 30)}
    assert len(handle.calls) == 1


async def test_a_message_of_a_deleted_conversation_is_nothing_to_keep(location, handle, mirrored):
    await handle("InboundMessage", {"locationId": LOCATION, "conversationId": "gone"})
    assert await mirrored("message") == {}


async def test_merged_conversations_are_both_read_again(location, simulator, handle, mirrored):
    for each in ("old", "new"):
        simulator.put("conversation", LOCATION, {"id": each, "locationId": LOCATION, "contactId": CONTACT["id"]})
        await handle("ConversationUnreadUpdate", {"locationId": LOCATION, "id": each})
    simulator.remove("conversation", "old")
    merge = {"locationId": LOCATION, "newConversationId": "new", "oldConversationId": "old"}
    await handle("ConversationUpdate", merge)
    assert set(await mirrored("conversation")) == {"new"}


async def test_orders_and_invoices_are_read_for_the_location_in_alt_id(location, simulator, handle, mirrored):
    for kind in ("order", "invoice"):
        simulator.put(kind, LOCATION, {"_id": f"{kind}1", "altId": LOCATION, "altType": "location"})
    alt = {"altId": LOCATION, "altType": "location"}
    await handle("OrderCreate", alt | {"_id": "order1"})
    await handle("InvoiceCreate", alt | {"_id": "invoice1"})
    assert set(await mirrored("order")) | set(await mirrored("invoice")) == {"order1", "invoice1"}


async def test_an_agencys_app_reads_locations_and_users_under_the_agencys_token(agency, simulator, handle, mirrored):
    other = "loc000000000000000002"
    simulator.install(other)
    simulator.put("user", other, {"id": "u1", "locationId": other})
    await handle("LocationCreate", {"id": other, "companyId": agency})
    await handle("UserCreate", {"id": "u1", "locationId": other, "companyId": agency})
    assert set(await mirrored("location", other)) == {other}
    assert set(await mirrored("user", other)) == {"u1"}


async def test_a_location_with_neither_token_waits(agency, handle):
    with pytest.raises(InstallationMissing):
        await handle("LocationCreate", {"id": "nowhere", "companyId": "nobody"})


# Installs


async def state(ours, tenant: str) -> str | None:
    listed = {row.tenant: row.state for row in await ours.tokens.installations(APP)}
    return listed.get(TenantId(tenant))


async def test_an_install_notice_makes_a_location_known_and_its_first_event_gets_it_a_token(
    agency, ours, simulator, handle, mirrored
):
    simulator.install(LOCATION)
    simulator.put("contact", LOCATION, CONTACT)
    await handle("INSTALL", {"locationId": LOCATION, "companyId": agency})
    assert await state(ours, LOCATION) == "pending"
    await handle("ContactCreate", contact_event())
    assert await state(ours, LOCATION) == "active"
    assert len(await mirrored("contact")) == 1


async def test_an_agencys_install_notice_may_come_before_its_callback(ours, handle):
    await handle("INSTALL", {"companyId": "agency"})
    (row,) = await ours.tokens.installations(APP)
    assert (row.tenant, row.level, row.state) == ("agency", "company", "pending")


async def test_an_uninstall_notice_ends_the_installation_and_a_stale_one_does_not(location, ours, handle):
    await handle("ContactCreate", contact_event())
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await handle("UNINSTALL", {"locationId": LOCATION, "timestamp": hour_ago})
    assert await state(ours, LOCATION) == "active"
    now = datetime.now(UTC)
    await handle("UNINSTALL", {"locationId": LOCATION, "timestamp": now.isoformat()}, received_at=now)
    assert await state(ours, LOCATION) == "gone"


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2999-01-01T00:00:00Z"])
async def test_a_notice_without_a_believable_time_counts_from_when_it_was_received(location, ours, handle, timestamp):
    await handle("UNINSTALL", {"locationId": LOCATION, "timestamp": timestamp}, received_at=datetime.now(UTC))
    assert await state(ours, LOCATION) == "gone"
    await handle("INSTALL", {"locationId": LOCATION}, received_at=datetime.now(UTC))
    assert await state(ours, LOCATION) == "pending"


async def test_an_agencys_uninstall_notice_is_told_from_a_locations(agency, location, ours, handle):
    await handle("UNINSTALL", {"companyId": agency}, received_at=datetime.now(UTC))
    assert await state(ours, agency) == "gone"
    assert await state(ours, LOCATION) == "pending"
