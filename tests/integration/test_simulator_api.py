"""The simulated vendor's REST API, over HTTP: who may call, limits, entities, each style of paging."""

from typing import Any

import aiohttp
import pytest

from levelgate.simulator.oauth import ROUTES as OAUTH_ROUTES
from levelgate.simulator.state import ROUTES
from schemas.operations import OPERATIONS
from schemas.settings import App
from tests.fixtures.simulator import running_simulator

VERSION = {"Version": "2021-07-28"}
HERE = "ve9EPM428h8vShlRW1KT"
ELSEWHERE = "3SwdhCsvxI8Au3KsPJt6"
ALT = {"altId": HERE, "altType": "location"}


class Caller:
    """Calls the API with one token."""

    def __init__(self, http, token):
        self._http = http
        self._headers = {"Authorization": f"Bearer {token['access_token']}", **VERSION}

    async def __call__(self, method, path, *, headers=None, **request):
        headers = self._headers if headers is None else headers
        async with self._http.request(method, path, headers=headers, **request) as response:
            return response.status, await response.json(), response.headers

    async def ok(self, method, path, **request):
        status, answer, _ = await self(method, path, **request)
        assert status in {200, 201}, answer
        return answer

    async def refused(self, method, path, **request):
        status, answer, _ = await self(method, path, **request)
        assert answer["statusCode"] == status
        assert answer["traceId"]
        return status, answer["message"]


@pytest.fixture
async def http(simulator):
    async with aiohttp.ClientSession(simulator.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
def call(http, simulator):
    return Caller(http, simulator.grant(HERE))


def contact(number, **fields):
    return {"id": f"contact{number:03d}", "dateAdded": f"2026-01-01T00:00:{number:02d}.000Z", **fields}


def test_every_route_is_one_of_the_documents_with_their_scope_and_level():
    documented = {(str(operation.method), operation.path): operation for operation in OPERATIONS.values()}
    levels = {"location": {"Location", "unknown"}, "company": {"Agency"}, "either": {"either"}}
    for route in (*ROUTES, *OAUTH_ROUTES):
        operation = documented[route.method, route.path]
        assert route.scope in operation.scopes or not operation.scopes, route
        assert operation.token in levels[route.level], route


@pytest.mark.parametrize("header", [None, "Bearer unknown", "Basic dXNlcjpwYXNz", "Bearer"])
async def test_a_call_without_a_good_token_is_refused(call, header):
    headers = {**VERSION, **({"Authorization": header} if header else {})}
    assert await call.refused("GET", "/contacts/c1", headers=headers) == (401, "Invalid JWT")


async def test_a_call_beyond_the_tokens_scopes_is_refused_as_401_too(simulator_settings):
    app = simulator_settings.apps["demo"]
    only = App(client_id=app.client_id, client_secret=app.client_secret, scopes=("contacts.readonly",))
    settings = simulator_settings.model_copy(update={"apps": {"demo": only}})
    async with running_simulator(settings) as simulator, aiohttp.ClientSession(simulator.url) as http:
        call = Caller(http, simulator.grant(HERE))
        await call.ok("GET", "/contacts/", params={"locationId": HERE})
        refused = await call.refused("POST", "/contacts/", json={"locationId": HERE})
    assert refused == (401, "The token is not authorized for this scope.")


async def test_another_locations_entities_are_out_of_reach(call, simulator):
    simulator.put("contact", ELSEWHERE, contact(1))
    told = (403, "The token does not have access to this location.")
    assert await call.refused("GET", "/contacts/contact001") == told
    assert await call.refused("GET", "/contacts/", params={"locationId": ELSEWHERE}) == told
    assert await call.refused("POST", "/contacts/", json={"locationId": ELSEWHERE}) == told


async def test_a_company_token_reaches_what_the_documents_allow_it(http, simulator):
    simulator.seed()
    company = Caller(http, simulator.grant())
    assert (await company.ok("GET", f"/locations/{HERE}"))["location"]["id"] == HERE
    product = await company.ok("GET", "/products/655b33a82209e60b6adb87a5", params={"locationId": ELSEWHERE})
    assert product["locationId"] == ELSEWHERE
    assert (await company.refused("GET", "/contacts/nmFmQEsNgz6AVpgLVUJ0"))[0] == 403


@pytest.mark.parametrize("version", [None, "2020-01-01"])
async def test_a_version_that_is_not_served_is_refused(call, http, simulator, version):
    headers = {"Authorization": f"Bearer {simulator.grant(HERE)['access_token']}"}
    if version:
        headers["Version"] = version
    assert (await call.refused("GET", "/contacts/", headers=headers))[0] == 400


async def test_what_does_not_exist_is_404(call):
    assert await call.refused("GET", "/contacts/nobody") == (404, "Contact with id nobody not found")
    assert (await call.refused("GET", "/no/such/path"))[0] == 404


async def test_missing_fields_are_told_as_a_list(call):
    assert await call.refused("GET", "/contacts/") == (422, ["locationId should not be empty"])
    assert await call.refused("POST", "/contacts/c1/tags", json={}) == (422, ["tags should not be empty"])


async def test_every_answer_tells_what_is_left_of_the_limits(call):
    _, _, first = await call("GET", "/contacts/", params={"locationId": HERE})
    _, _, second = await call("GET", "/contacts/nobody")
    assert first["X-RateLimit-Max"] == "100"
    assert first["X-RateLimit-Interval-Milliseconds"] == "10000"
    assert first["X-RateLimit-Limit-Daily"] == "200000"
    assert (first["X-RateLimit-Remaining"], second["X-RateLimit-Remaining"]) == ("99", "98")
    assert (first["X-RateLimit-Daily-Remaining"], second["X-RateLimit-Daily-Remaining"]) == ("199999", "199998")


async def test_beyond_the_limit_a_tenant_gets_429_until_the_interval_is_over_and_others_do_not(call, http, simulator):
    simulator.limit(burst=3)
    statuses = [(await call("GET", "/contacts/nobody"))[0] for _ in range(5)]
    assert statuses == [404, 404, 404, 429, 429]
    assert simulator.limited == 2
    assert (await Caller(http, simulator.grant(ELSEWHERE))("GET", "/contacts/nobody"))[0] == 404
    simulator.clock.move(10)
    assert (await call("GET", "/contacts/nobody"))[0] == 404


async def test_beyond_the_days_limit_waiting_for_the_interval_does_not_help(call, http, simulator):
    simulator.limit(daily=2)
    assert [(await call("GET", "/contacts/nobody"))[0] for _ in range(3)] == [404, 404, 429]
    simulator.clock.move(60)
    assert (await call("GET", "/contacts/nobody"))[0] == 429
    simulator.clock.move(86_400)
    assert (await Caller(http, simulator.grant(HERE))("GET", "/contacts/nobody"))[0] == 404


CREATED = [
    ("/contacts/", {"locationId": HERE, "email": "a@example.com"}, {"firstName": "Ann"}, "contact", {}),
    ("/contacts/contact001/notes", {"body": "text"}, {"body": "other"}, "note", {}),
    ("/contacts/contact001/tasks", {"title": "t", "dueDate": "2026-01-01T00:00:00Z"}, {"title": "u"}, "task", {}),
    (
        "/opportunities/",
        {"pipelineId": "p", "locationId": HERE, "name": "n", "status": "open", "contactId": "contact001"},
        {"name": "m"},
        "opportunity",
        {},
    ),
    ("/products/", {"locationId": HERE, "name": "n", "productType": "DIGITAL"}, {"name": "m"}, None, {}),
    (
        "/products/product1/price",
        {"name": "n", "type": "one_time", "currency": "USD", "amount": 1},
        {"amount": 2},
        None,
        {},
    ),
    ("/invoices/", {**ALT, "name": "n", "currency": "USD", "items": [{"name": "i"}]}, {"name": "m"}, None, ALT),
]


@pytest.mark.parametrize(("path", "fields", "change", "wrap", "query"), CREATED, ids=[row[0] for row in CREATED])
async def test_an_entity_is_created_read_changed_and_deleted(call, simulator, path, fields, change, wrap, query):
    simulator.put("contact", HERE, contact(1))
    simulator.put("product", HERE, {"_id": "product1", "locationId": HERE})
    query = query or {"locationId": HERE}
    whole = {"locationId": HERE, **fields}

    def unwrapped(answer):
        return answer[wrap] if wrap else answer

    created = unwrapped(await call.ok("POST", path, json=whole))
    one = f"{path.rstrip('/')}/{created.get('id') or created['_id']}"
    assert unwrapped(await call.ok("GET", one, params=query)) == created
    await call.ok("PUT", one, json={**query, **change})
    read = unwrapped(await call.ok("GET", one, params=query))
    assert read | change == read
    await call.ok("DELETE", one, params=query)
    assert (await call.refused("GET", one, params=query))[0] == 404


async def test_an_appointment_is_created_without_its_dates_and_read_with_them(call):
    fields = {"calendarId": "cal1", "locationId": HERE, "contactId": "c1", "startTime": "2026-01-01T10:00:00Z"}
    created = await call.ok("POST", "/calendars/events/appointments", json=fields)
    assert "dateAdded" not in created
    read = await call.ok("GET", f"/calendars/events/appointments/{created['id']}")
    assert read["event"]["dateAdded"]
    window = {"locationId": HERE, "calendarId": "cal1", "startTime": "1767225600000", "endTime": "1767312000000"}
    assert (await call.ok("GET", "/calendars/events", params=window))["events"] == [read["event"]]
    await call.ok("DELETE", f"/calendars/events/{created['id']}")
    assert (await call.refused("GET", f"/calendars/events/appointments/{created['id']}"))[0] == 404


async def test_a_sent_message_appears_in_its_conversation(call, simulator):
    simulator.put("contact", HERE, contact(1))
    created = await call.ok("POST", "/conversations/", json={"locationId": HERE, "contactId": "contact001"})
    conversation = created["conversation"]["id"]
    sent = await call.ok(
        "POST", "/conversations/messages", json={"type": "SMS", "contactId": "contact001", "message": "Hello"}
    )
    assert sent["conversationId"] == conversation
    await call.ok("PUT", f"/conversations/messages/{sent['messageId']}/status", json={"status": "delivered"})
    message = await call.ok("GET", f"/conversations/messages/{sent['messageId']}")
    assert (message["body"], message["status"], message["messageType"]) == ("Hello", "delivered", "TYPE_SMS")
    listed = await call.ok("GET", f"/conversations/{conversation}/messages")
    assert listed["messages"]["messages"] == [message]


async def test_an_upsert_finds_the_contact_by_its_email(call):
    first = await call.ok("POST", "/contacts/upsert", json={"locationId": HERE, "email": "a@example.com"})
    second = await call.ok("POST", "/contacts/upsert", json={"locationId": HERE, "email": "A@example.com", "city": "X"})
    assert (first["new"], second["new"]) == (True, False)
    assert second["contact"]["id"] == first["contact"]["id"]
    assert second["contact"]["city"] == "X"


async def test_contacts_are_listed_by_the_last_ones_date_and_id(call, simulator):
    for number in range(5):
        # Two of a date: the id decides.
        simulator.put("contact", HERE, contact(number) | {"dateAdded": f"2026-01-0{1 + number // 2}T00:00:00Z"})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while page := (await call.ok("GET", "/contacts/", params={"locationId": HERE, "limit": "2", **cursor}))["contacts"]:
        seen += [each["id"] for each in page]
        answer = await call.ok("GET", "/contacts/", params={"locationId": HERE, "limit": "2", **cursor})
        cursor = {name: str(answer["meta"][name]) for name in ("startAfter", "startAfterId")}
    assert seen == [f"contact{number:03d}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("style", ["searchAfter", "page"])
@pytest.mark.parametrize("family", ["contacts", "opportunities"])
async def test_a_search_is_paged_by_its_cursor_or_by_number(call, simulator, family, style):
    kind, size = {"contacts": ("contact", "pageLimit"), "opportunities": ("opportunity", "limit")}[family]
    mark = {"contacts": "searchAfter", "opportunities": "sort"}[family]
    for number in range(5):
        body = contact(number)
        simulator.put(kind, HERE, {**body, "createdAt": body["dateAdded"]})
    seen: list[str] = []
    position: list[Any] = []
    number = 1
    while True:
        step = {"page": number} if style == "page" else ({"searchAfter": position} if position else {})
        answer = await call.ok("POST", f"/{family}/search", json={"locationId": HERE, size: 2, **step})
        if not answer[family]:
            break
        assert answer["total"] == 5
        seen += [each["id"] for each in answer[family]]
        position, number = answer[family][-1][mark], number + 1
    assert seen == [f"contact{number:03d}" for number in (4, 3, 2, 1, 0)]


async def test_opportunities_are_searched_by_the_last_ones_date_and_id(call, simulator):
    for number in range(5):
        simulator.put("opportunity", HERE, {"id": f"o{number}", "createdAt": f"2026-01-01T00:00:0{number}Z"})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        query = {"location_id": HERE, "limit": "2", **cursor}
        answer = await call.ok("GET", "/opportunities/search", params=query)
        if not answer["opportunities"]:
            break
        seen += [each["id"] for each in answer["opportunities"]]
        cursor = {name: str(answer["meta"][name]) for name in ("startAfter", "startAfterId")}
    assert seen == ["o4", "o3", "o2", "o1", "o0"]


OFFSETS = [
    ("order", "/payments/orders", "data", ALT, "offset"),
    ("invoice", "/invoices/", "invoices", ALT, "offset"),
    ("product", "/products/", "products", {"locationId": HERE}, "offset"),
    ("price", "/products/p0/price", "prices", {"locationId": HERE}, "offset"),
]


@pytest.mark.parametrize(("kind", "path", "key", "query", "start"), OFFSETS, ids=[row[0] for row in OFFSETS])
async def test_a_list_is_paged_by_its_offset(call, simulator, kind, path, key, query, start):
    simulator.put("product", HERE, {"_id": "p0", "locationId": HERE, "product": "p0"})
    for number in range(5):
        simulator.put(kind, HERE, {"_id": f"p{number}", "product": "p0"})
    seen: list[str] = []
    while True:
        page = {**query, "limit": "2", start: str(len(seen))}
        answer = await call.ok("GET", path, params=page)
        if not answer[key]:
            break
        seen += [each["_id"] for each in answer[key]]
    assert seen == ["p0", "p1", "p2", "p3", "p4"]


async def test_users_and_tasks_are_paged_by_skip(call, simulator):
    for number in range(3):
        roles = {"locationIds": [HERE]}
        simulator.put("user", HERE, {"id": f"u{number}", "name": "Ann", "roles": roles})
        simulator.put("task", HERE, {"id": f"t{number}", "title": "Call", "contactId": "c1", "completed": False})
    query = {"companyId": simulator.company, "skip": "2", "limit": "2"}
    assert [user["id"] for user in (await call.ok("GET", "/users/search", params=query))["users"]] == ["u2"]
    wanted = {"skip": 1, "limit": 1, "completed": False}
    found = await call.ok("POST", f"/locations/{HERE}/tasks/search", json=wanted)
    assert [task["id"] for task in found["tasks"]] == ["t1"]


async def test_conversations_are_searched_by_the_last_ones_date(call, simulator):
    for number in range(4):
        dated = {"id": f"v{number}", "lastMessageDate": f"2026-01-01T00:00:0{number}Z"}
        simulator.put("conversation", HERE, dated)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        query = {"locationId": HERE, "limit": "3", **cursor}
        page = (await call.ok("GET", "/conversations/search", params=query))["conversations"]
        if not page:
            break
        seen += [each["id"] for each in page]
        cursor = {"startAfterDate": str(page[-1]["sort"][0])}
    assert seen == ["v3", "v2", "v1", "v0"]


async def test_messages_of_a_conversation_are_nested_and_paged_by_the_last_message(call, simulator):
    simulator.put("conversation", HERE, {"id": "v1"})
    for number in range(5):
        told = {"conversationId": "v1", "dateAdded": f"2026-01-01T00:00:0{number}Z"}
        simulator.put("message", HERE, {"id": f"m{number}", **told})
    seen, query = [], {"limit": "2"}
    while True:
        nested = (await call.ok("GET", "/conversations/v1/messages", params=query))["messages"]
        seen += [each["id"] for each in nested["messages"]]
        if not nested["nextPage"]:
            break
        query["lastMessageId"] = nested["lastMessageId"]
    assert seen == ["m4", "m3", "m2", "m1", "m0"]
    seen, query = [], {"locationId": HERE, "limit": "2"}
    while True:
        answer = await call.ok("GET", "/conversations/messages/export", params=query)
        seen += [each["id"] for each in answer["messages"]]
        if "nextCursor" not in answer:
            break
        query["cursor"] = answer["nextCursor"]
    assert seen == ["m4", "m3", "m2", "m1", "m0"]


@pytest.mark.parametrize("limit", ["0", "101", "many"])
async def test_a_limit_out_of_range_is_malformed(call, limit):
    assert (await call.refused("GET", "/contacts/", params={"locationId": HERE, "limit": limit}))[0] == 422


async def test_faults_happen_to_the_calls_they_fit_and_then_no_more(call, http, simulator):
    simulator.fault("error", "/contacts/", status=502, times=2)
    simulator.fault("limit", "/payments/", method="GET")
    assert [(await call("GET", "/contacts/nobody"))[0] for _ in range(3)] == [502, 502, 404]
    assert [(await call("GET", "/payments/orders", params=ALT))[0] for _ in range(2)] == [429, 200]
    simulator.fault("silent", "/contacts/")
    with pytest.raises(TimeoutError):
        await call("GET", "/contacts/nobody", timeout=aiohttp.ClientTimeout(total=0.2))
    assert (await call("GET", "/contacts/nobody"))[0] == 404


async def test_a_lost_answer_was_still_carried_out(call, simulator):
    simulator.fault("lost", "/contacts/")
    with pytest.raises(aiohttp.ClientError):
        await call("POST", "/contacts/", json={"locationId": HERE, "email": "a@example.com"})
    assert (await call.ok("GET", "/contacts/", params={"locationId": HERE}))["count"] == 1
