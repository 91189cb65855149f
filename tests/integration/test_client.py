"""One call of the API: which error each answer is, when a token is refreshed, and what never leaks."""

import asyncio
import contextlib
import gzip
import traceback
from datetime import timedelta

import pytest
from aiohttp import web
from pydantic import SecretStr

from levelgate.highlevel import wire
from levelgate.highlevel.api import Api
from levelgate.highlevel.client import ApiCall
from levelgate.highlevel.oauth import Grant
from schemas.errors import ApiNotFound, ApiRejected, ApiUnavailable, Permanent, RateLimited
from schemas.ids import AppName, CompanyId, LocationId, TenantId
from schemas.operations import OPERATIONS, Operation
from tests.support.eventually import eventually
from tests.support.highlevel import our_side

APP = AppName("demo")
LOCATION = LocationId("loc000000000000000001")
TENANT = TenantId(LOCATION)
CONTACT = {"id": "con000000000000000001", "locationId": LOCATION, "firstName": "Ada"}
GET_CONTACT = OPERATIONS["contacts.get-contact"]
REFRESHES = "POST /oauth/token refresh_token"
SECRET = "marked-secret"


@pytest.fixture
def settings(simulator, database_url):
    return simulator.settings.model_copy(update={"database_url": SecretStr(database_url)})


@pytest.fixture
async def ours(settings):
    async with our_side(settings) as ours:
        yield ours


async def install(ours, access_token: str, refresh_token: str | None = None) -> None:
    grant = Grant(
        access_token=SecretStr(access_token),
        refresh_token=SecretStr(refresh_token) if refresh_token else None,
        level="location",
        company=CompanyId("company"),
        location=LOCATION,
    )
    await ours.tokens.store_grant(APP, grant)


@pytest.fixture
async def client(ours, simulator):
    """A client whose tenant has the app installed."""
    answer = simulator.grant(LOCATION)
    await install(ours, answer["access_token"], answer["refresh_token"])
    simulator.put("contact", LOCATION, CONTACT)
    return ours.client


@pytest.fixture
def api(client):
    return Api(client, APP, TENANT)


@contextlib.asynccontextmanager
async def answering(settings, handle):
    """Our side before a vendor that does what `handle` says to any request."""
    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        vendor = settings.vendor.model_copy(update={"api_url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
        async with our_side(settings.model_copy(update={"vendor": vendor})) as ours:
            await install(ours, "access-" + SECRET)
            yield ours
    finally:
        await runner.cleanup()


def operation(**fields) -> Operation:
    given = {"id": "x.y", "family": "contacts", "method": "GET", "path": "/x", "token": "Location"}
    return Operation(**(given | fields))


async def test_a_call_brings_the_entity_and_tells_what_it_did(client):
    made: list[ApiCall] = []
    contact = await Api(client, APP, TENANT, made.append).contacts.get(CONTACT["id"])
    assert contact["firstName"] == "Ada"
    assert [(call.method, call.path, call.status) for call in made] == [("GET", f"/contacts/{CONTACT['id']}", 200)]
    assert made[0].ms > 0


async def test_what_the_vendor_says_is_spent_is_not_asked_for(api, simulator):
    simulator.limit(burst=3)
    outcomes = await asyncio.gather(*(api.contacts.get(CONTACT["id"]) for _ in range(20)), return_exceptions=True)
    waiting = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert (len(waiting), len(outcomes) - len(waiting)) == (17, 3)
    assert all(outcome.after and timedelta(seconds=9) < outcome.after < timedelta(seconds=11) for outcome in waiting)
    assert simulator.limited == 0


async def test_what_a_former_owner_spent_costs_one_refusal_at_most(settings, simulator):
    simulator.put("contact", LOCATION, CONTACT)
    simulator.limit(burst=3)
    async with our_side(settings) as former, our_side(settings) as new:
        await install(former, simulator.grant(LOCATION)["access_token"])
        await asyncio.gather(*(Api(former.client, APP, TENANT).contacts.get(CONTACT["id"]) for _ in range(3)))
        calls = (Api(new.client, APP, TENANT).contacts.get(CONTACT["id"]) for _ in range(20))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, RateLimited) for outcome in outcomes)
    assert simulator.limited == 1


async def test_an_entity_that_does_not_exist_is_told_from_other_refusals(api):
    with pytest.raises(ApiNotFound):
        await api.contacts.get("nobody")
    with pytest.raises(ApiRejected) as caught:
        await api.locations.get("another location")
    assert (caught.value.status, type(caught.value)) == (403, ApiRejected)


async def test_a_429_says_how_long_to_wait(api, simulator):
    simulator.limit(burst=0)
    with pytest.raises(RateLimited) as caught:
        await api.contacts.get(CONTACT["id"])
    assert caught.value.after == timedelta(seconds=10)


@pytest.mark.parametrize("fault", [{"effect": "error", "status": 502}, {"effect": "lost"}])
async def test_a_failing_vendor_is_unavailable(api, simulator, fault):
    # aiohttp repeats a GET once by itself where a kept connection was cut: hence more than one fault.
    simulator.fault(path="/contacts/", times=3, **fault)
    with pytest.raises(ApiUnavailable):
        await api.contacts.get(CONTACT["id"])


async def test_a_silent_vendor_is_waited_for_no_longer_than_set(settings, simulator):
    brief = settings.model_copy(update={"vendor": settings.vendor.model_copy(update={"call_timeout_s": 0.2})})
    async with our_side(brief) as ours:
        await install(ours, simulator.grant(LOCATION)["access_token"])
        simulator.fault("silent", "/contacts/")
        with pytest.raises(ApiUnavailable, match="no answer in time"):
            await Api(ours.client, APP, TENANT).contacts.get("any")


# 401


async def test_a_token_that_ended_early_is_refreshed_once_and_the_call_repeated(client, simulator):
    made: list[ApiCall] = []
    api = Api(client, APP, TENANT, made.append)
    simulator.vendor.store.remove("access", next(token for token, _ in simulator.vendor.store.all("access")))
    got = await asyncio.gather(*(api.contacts.get(CONTACT["id"]) for _ in range(10)))
    assert {contact["firstName"] for contact in got} == {"Ada"}
    assert simulator.calls(REFRESHES) == 1
    assert {call.status for call in made} == {401, 200}


async def test_a_401_about_the_scope_refreshes_nothing(settings, simulator):
    app = settings.apps[APP].model_copy(update={"scopes": ("users.readonly",)})
    simulator.vendor.settings.apps[APP] = app
    async with our_side(settings) as ours:
        answer = simulator.grant(LOCATION)
        await install(ours, answer["access_token"], answer["refresh_token"])
        with pytest.raises(ApiRejected) as caught:
            await Api(ours.client, APP, TENANT).contacts.get("any")
    assert caught.value.status == 401
    assert simulator.calls(REFRESHES) == 0


async def test_an_endpoint_that_always_says_401_does_not_refresh_each_time(settings):
    asked: list[str] = []

    async def refuse(request):
        asked.append(request.path)
        if request.path == "/oauth/token":
            return web.json_response({"access_token": f"a{len(asked)}", "refresh_token": "r", "userId": "u"})
        return web.json_response({"statusCode": 401, "message": "Invalid JWT"}, status=401)

    async with answering(settings, refuse) as ours:
        await install(ours, "first", "r")
        for _ in range(5):
            with pytest.raises(ApiRejected):
                await ours.client.request(APP, TENANT, GET_CONTACT, path={"contactId": "any"})
    assert asked.count("/oauth/token") == 1


# What is sent


async def test_each_operation_is_sent_with_its_token_and_version(settings):
    seen = []

    async def note(request):
        seen.append((request.headers["Authorization"], request.headers["Version"], request.path_qs))
        return web.json_response({})

    async with answering(settings, note) as ours:
        for each in (
            operation(version="2021-04-15"),
            operation(version=None),
            operation(version=None, family="conversations"),
        ):
            await ours.client.request(APP, TENANT, each, query={"a": None, "b": True, "c": 3, "d": "ä&b"})
    assert [version for _, version, _ in seen] == ["2021-04-15", "2021-07-28", "2021-04-15"]
    assert {token for token, _, _ in seen} == {f"Bearer access-{SECRET}"}
    assert {path for *_, path in seen} == {"/x?b=true&c=3&d=%C3%A4%26b"}


@pytest.mark.parametrize("value", ["a/b", "a?b", "a#b", "../..", "%2e%2e", "ä", "a b", "a;b", "a\nb"])
async def test_a_path_parameter_stays_one_segment(settings, value):
    seen = []

    async def note(request):
        seen.append((request.match_info["path"], request.raw_path))
        return web.json_response({})

    async with answering(settings, note) as ours:
        await ours.client.request(APP, TENANT, operation(path="/x/{id}/y"), path={"id": value})
    (decoded, raw) = seen[0]
    assert decoded == f"x/{value}/y"
    assert raw.count("/") == 3


@pytest.mark.parametrize("value", ["", ".", "..", None])
async def test_a_path_parameter_that_would_call_something_else_is_refused(client, value):
    with pytest.raises(Permanent, match="contactId is missing"):
        await client.request(APP, TENANT, GET_CONTACT, path={"contactId": value})


# What comes back


async def test_connections_are_reused(settings):
    peers = set()

    async def note(request):
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    async with answering(settings, note) as ours:
        for _ in range(10):
            await ours.client.request(APP, TENANT, operation())
    assert len(peers) == 1


async def test_a_201_without_a_body_is_no_error(settings):
    async def create(_request):
        return web.Response(status=201)

    async with answering(settings, create) as ours:
        assert await ours.client.request(APP, TENANT, operation(method="POST"), json={"a": 1}) is None


async def test_a_redirect_is_not_followed(settings):
    asked = []

    async def redirect(request):
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with answering(settings, redirect) as ours:
        with pytest.raises(ApiRejected):
            await ours.client.request(APP, TENANT, operation())
    assert asked == ["/x"]


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_endless_answer_is_not_read_to_its_end(settings, monkeypatch, compressed):
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 100_000)

    async def babble(_request):
        body = b"[" + b"0," * 1_000_000 + b"0]"
        headers = {"Content-Encoding": "gzip"} if compressed else {}
        return web.Response(body=gzip.compress(body, 1) if compressed else body, headers=headers)

    async with answering(settings, babble) as ours:
        with pytest.raises(wire.AnswerTooLong):
            await ours.client.request(APP, TENANT, operation())


@pytest.mark.parametrize("body", [b"<html>hi</html>", b"{", b"NaN", b'{"a": 1e999}', b"\xff", b"[" * 2000])
async def test_a_success_that_is_not_strict_json_is_no_success(settings, body):
    async def answer(_request):
        return web.Response(body=body, content_type="application/json")

    async with answering(settings, answer) as ours:
        with pytest.raises(ApiUnavailable):
            await ours.client.request(APP, TENANT, operation())


@pytest.mark.parametrize(
    "spoken",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "garbage", "no status", "cut short", "bad length", "bad chunk", "bad gzip", "huge header"],
)
async def test_any_nonsense_on_the_line_is_unavailable_and_leaks_nothing(settings, spoken):
    async def speak(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(spoken)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        vendor = settings.vendor.model_copy(update={"api_url": f"http://127.0.0.1:{port}"})
        async with our_side(settings.model_copy(update={"vendor": vendor})) as ours:
            await install(ours, "access-" + SECRET)
            with pytest.raises(ApiUnavailable) as caught:
                await ours.client.request(APP, TENANT, operation(), query={"q": SECRET})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
async def test_no_error_repeats_what_was_sent_or_answered(settings, status, caplog):
    async def refuse(_request):
        return web.json_response({"message": [f"{SECRET} is wrong", "scope"], "traceId": "t-1"}, status=status)

    async with answering(settings, refuse) as ours:
        with pytest.raises((ApiRejected, ApiUnavailable, RateLimited)) as caught:
            await ours.client.request(
                APP, TENANT, operation(method="POST"), query={"q": SECRET}, json={"secret": SECRET}
            )
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert str(caught.value) == f"POST /x answered {status} (trace t-1)"
    assert SECRET not in caplog.text


async def test_a_cancelled_call_is_counted_and_leaves_nothing_behind(settings):
    arrived = asyncio.Event()

    async def hang(_request):
        arrived.set()
        await asyncio.Event().wait()

    made: list[ApiCall] = []
    async with answering(settings, hang) as ours:
        call = asyncio.create_task(ours.client.request(APP, TENANT, operation(), on_call=made.append))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        labels = {"app": APP, "family": "contacts", "status": "none"}
        await eventually(lambda: ours.registry.get_sample_value("levelgate_api_calls_total", labels) == 1)
    assert [made_call.status for made_call in made] == [None]


# The families' methods


async def test_tasks_of_a_location_are_found_over_all_pages(api, simulator):
    for number in range(120):
        simulator.put("task", LOCATION, {"id": f"task{number}", "title": "t", "contactId": CONTACT["id"]})
    found = [task["id"] async for task in api.tasks.search()]
    assert sorted(found) == sorted(f"task{number}" for number in range(120))


async def test_messages_of_a_conversation_are_found_over_all_pages(api, simulator):
    simulator.put("conversation", LOCATION, {"id": "conv", "locationId": LOCATION, "contactId": CONTACT["id"]})
    for number in range(45):
        dated = f"2024-05-08T12:{number:02}:00.000Z"
        simulator.put("message", LOCATION, {"id": f"m{number}", "conversationId": "conv", "dateAdded": dated})
    found = [message["id"] async for message in api.messages.of_conversation("conv", page_size=20)]
    assert found == [f"m{number}" for number in reversed(range(45))]
