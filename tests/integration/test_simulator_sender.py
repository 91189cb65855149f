"""The simulated vendor's webhooks: signed, stamped, tried again, and made to go by the control routes."""

from datetime import date

import aiohttp
import orjson
import pytest
from pydantic import SecretStr

from levelgate.highlevel.signatures import VerifyingKeys
from levelgate.simulator.consent import DEMO_COMPANY
from levelgate.simulator.run import run_simulator
from schemas.errors import BadSignature, Misconfigured
from schemas.ids import AppName
from tests.fixtures.simulator import running_simulator
from tests.support.eventually import eventually

DEMO = AppName("demo")
TODAY = date(2026, 11, 23)
EVENT = {"type": "ContactCreate", "locationId": "loc", "id": "c1"}


@pytest.fixture
async def http(simulator):
    async with aiohttp.ClientSession(simulator.url, timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def receiver(simulator, recording_receiver):
    simulator.send_to(recording_receiver.url)
    return recording_receiver


async def lines_of(http, path, body):
    async with http.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        return [orjson.loads(line) async for line in response.content]


async def test_a_webhook_carries_both_signatures_over_its_bytes(simulator, receiver):
    await simulator.vendor.sender.send(DEMO, EVENT)
    (post,) = receiver.posts
    app = simulator.settings.apps["demo"].model_copy(update={"rsa_until": date.max})
    keys = VerifyingKeys.from_app(app)
    only_rsa = {"x-wh-signature": post.headers["x-wh-signature"]}
    assert keys.verify(post.raw, post.headers, today=TODAY) == "ed25519"
    assert keys.verify(post.raw, only_rsa, today=TODAY) == "rsa"
    for headers in (post.headers, only_rsa):
        with pytest.raises(BadSignature):
            keys.verify(post.raw + b" ", headers, today=TODAY)


async def test_a_webhook_is_stamped_over_what_its_body_said(simulator, receiver):
    outcome = await simulator.vendor.sender.send(DEMO, {**EVENT, "appId": "another", "webhookId": "old"})
    (post,) = receiver.posts
    assert post.body["appId"] == simulator.settings.apps["demo"].app_id
    assert post.body["webhookId"] == outcome.id
    assert post.body["timestamp"].endswith("Z")
    assert post.body["versionId"]
    assert post.headers["deliveryId"]


async def test_a_refused_webhook_is_tried_again_until_its_first_2xx(simulator, receiver):
    receiver.statuses = [429, 500, 302, 404]
    outcome = await simulator.vendor.sender.send(DEMO, EVENT)
    assert (outcome.accepted, outcome.tries) == (True, 5)
    assert len({post.raw for post in receiver.posts}) == 1
    assert len({post.headers["deliveryId"] for post in receiver.posts}) == 5
    assert {post.path for post in receiver.posts} == {"/webhooks/demo"}
    tally = simulator.vendor.sender.tally
    assert (tally.sent, tally.accepted, tally.retried, tally.failed) == (1, 1, 4, 0)


async def test_a_webhook_is_given_up_after_twelve_more_tries(simulator_settings):
    fast = simulator_settings.simulator.model_copy(update={"retry_speedup": 1e9})
    async with running_simulator(simulator_settings.model_copy(update={"simulator": fast})) as simulator:
        outcome = await simulator.vendor.sender.send(DEMO, EVENT)
    assert (outcome.accepted, outcome.status, outcome.tries) == (False, None, 13)
    assert simulator.vendor.sender.tally.failed == 1


async def test_the_providers_message_goes_to_its_own_route_unsigned(simulator_settings, recording_receiver):
    app = simulator_settings.apps["demo"]
    provider = app.model_copy(update={"provider_secret": SecretStr("the-secret-of-the-path")})
    settings = simulator_settings.model_copy(update={"apps": {"demo": provider}})
    async with running_simulator(settings) as simulator:
        simulator.send_to(recording_receiver.url)
        await simulator.vendor.sender.send(DEMO, {"type": "SMS"}, event="ProviderOutboundMessage")
    (post,) = recording_receiver.posts
    assert post.path == "/providers/demo/the-secret-of-the-path"
    assert "X-GHL-Signature" not in post.headers
    assert "x-wh-signature" not in post.headers
    assert post.body["type"] == "SMS"


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("ed25519", {"X-GHL-Signature"}),
        ("rsa", {"x-wh-signature"}),
        ("both", {"X-GHL-Signature", "x-wh-signature"}),
        ("none", set()),
        ("wrong", {"X-GHL-Signature"}),
    ],
)
async def test_bytes_are_delivered_as_they_are_once(http, receiver, scheme, headers):
    receiver.statuses = [429]
    query = {"app": "demo", "event": "PriceUpdate", "scheme": scheme}
    async with http.post("/_simulator/deliver", params=query, data=b'{"a":  1}') as response:
        assert await response.json() == {"status": 429, "answer": {"status": "accepted"}, "error": None}
    (post,) = receiver.posts
    assert (post.path, post.raw) == ("/webhooks/demo/PriceUpdate", b'{"a":  1}')
    assert {name for name in ("X-GHL-Signature", "x-wh-signature") if name in post.headers} == headers


async def test_a_fresh_delivery_is_stamped_as_a_new_webhook(http, receiver):
    for _ in range(2):
        async with http.post("/_simulator/deliver", params={"app": "demo", "fresh": "1"}, json=EVENT) as response:
            assert response.status == 200
    assert len({post.body["webhookId"] for post in receiver.posts}) == 2


async def test_a_receiver_that_is_away_is_told_as_no_answer(http):
    async with http.post("/_simulator/deliver", params={"app": "demo"}, data=b"{}") as response:
        told = await response.json()
    assert (told["status"], told["answer"]) == (None, None)
    assert "no answer" in told["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_simulator/deliver?app=other", {}),
        ("/_simulator/deliver?app=demo&scheme=md5", {}),
        ("/_simulator/burst", {"app": "demo", "count": 0}),
        ("/_simulator/burst", {"app": "demo", "size": 1}),
        ("/_simulator/uninstall", {"app": "demo"}),
        ("/_simulator/install", {"app": "other"}),
    ],
)
async def test_a_wrong_control_call_is_told_why(http, path, body):
    async with http.post(path, json=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]


async def test_a_burst_installs_its_locations_first_and_names_only_contacts_that_exist(http, simulator, receiver):
    burst = {"app": "demo", "count": 30, "tenants": 4, "entities_per_tenant": 3, "concurrency": 5}
    lines = await lines_of(http, "/_simulator/burst", burst)
    done = lines[-1]
    assert done == {
        "done": True,
        "installed": 4,
        "sent": 30,
        "accepted": 30,
        "retried": 0,
        "failed": 0,
        "total": 30,
    }
    ids = [webhook for line in lines for webhook in line.get("ids", ())]
    installs, events = receiver.posts[:4], receiver.posts[4:]
    assert {post.body["type"] for post in installs} == {"INSTALL"}
    assert {post.body["companyId"] for post in installs} == {DEMO_COMPANY}
    assert sorted(ids) == sorted(post.body["webhookId"] for post in events)
    assert {post.body["type"] for post in events} == {"ContactCreate", "ContactUpdate"}
    locations = {post.body["locationId"] for post in events}
    assert len(locations) == 4
    assert all(len(location) == 20 for location in locations)
    assert locations == {post.body["locationId"] for post in installs}
    for post in events:
        assert simulator.vendor.store.get("contact", post.body["id"]).tenant == post.body["locationId"]
    company = simulator.grant()
    headers = {"Authorization": f"Bearer {company['access_token']}", "Version": "2021-07-28"}
    query = {"companyId": DEMO_COMPANY, "appId": simulator.settings.apps["demo"].app_id, "limit": "100"}
    async with http.get("/oauth/installedLocations", params=query, headers=headers) as response:
        assert locations <= {each["_id"] for each in (await response.json())["locations"] if each["isInstalled"]}
    again = await lines_of(http, "/_simulator/burst", burst)
    assert again[-1]["installed"] == 0


async def test_install_and_uninstall_send_their_webhooks(http, simulator, receiver):
    where = {"app": "demo", "location": "aNewLocation00000001", "company": "anAgency000000000001"}
    async with http.post("/_simulator/install", json=where) as response:
        assert (await response.json())["new"] is True
    async with http.post("/_simulator/uninstall", json={"app": "demo", "location": where["location"]}) as response:
        assert response.status == 200
    install, uninstall = (post.body for post in receiver.posts)
    assert (install["type"], install["locationId"], install["companyId"]) == (
        "INSTALL",
        where["location"],
        where["company"],
    )
    assert (uninstall["type"], uninstall["locationId"]) == ("UNINSTALL", where["location"])
    assert "companyId" not in uninstall


async def test_consent_in_bulk_sends_install_for_each_location(http, simulator, receiver):
    query = {
        "response_type": "code",
        "client_id": simulator.settings.apps["demo"].client_id,
        "redirect_uri": "http://localhost:8080/oauth/callback/demo",
        "approve": "1",
    }
    async with http.get("/v2/oauth/chooselocation", params=query, allow_redirects=False) as response:
        assert response.status == 302
    locations = {key for key, _ in simulator.vendor.store.all("location")}
    await eventually(lambda: {post.body["locationId"] for post in receiver.posts}, lambda seen: seen == locations)


async def test_status_counts_what_was_done(http, simulator, receiver):
    await simulator.vendor.sender.send(DEMO, EVENT)
    simulator.install("loc")
    async with http.get("/_simulator/status") as response:
        told = await response.json()
    assert told["webhooks"] == {"sent": 1, "accepted": 1, "retried": 0, "failed": 0}
    assert told["apps"] == {"demo": {"installed": 1}}
    assert told["limited"] == 0


async def test_the_control_route_sets_faults_limits_and_pauses_and_moves_the_clock(http, simulator):
    wanted = {
        "faults": [{"effect": "error", "path": "/oauth/token"}],
        "inactive": ["loc"],
        "limits": {"burst": 3},
    }
    async with http.post("/_simulator/faults", json=wanted) as response:
        assert response.status == 200
    assert simulator.vendor.meter.limits.burst == 3
    assert simulator.vendor.store.get("inactive", "loc") is not None
    for status in (500, 422):
        async with http.post("/oauth/token", json={}) as response:
            assert response.status == status
    async with http.post("/_simulator/faults", json={"active": ["loc"]}) as response:
        assert response.status == 200
    assert simulator.vendor.store.get("inactive", "loc") is None
    before = simulator.clock.now()
    async with http.post("/_simulator/clock", json={"seconds": 3600}) as response:
        assert response.status == 200
    assert simulator.clock.now() >= before + 3600


async def test_a_port_that_is_taken_is_told_in_one_sentence(simulator, simulator_settings):
    port = int(simulator.url.rpartition(":")[2])
    taken = simulator_settings.simulator.model_copy(update={"port": port})
    with pytest.raises(Misconfigured, match=f"can't listen on 127.0.0.1:{port}"):
        await run_simulator(simulator_settings.model_copy(update={"simulator": taken}))
