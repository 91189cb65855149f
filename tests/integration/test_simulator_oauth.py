"""The simulated vendor's OAuth, over HTTP: consent, codes, rotation with its grace, exchange, refusals."""

from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from levelgate.simulator.consent import KNOWN_SCOPES
from schemas.settings import App
from tests.fixtures.simulator import running_simulator

CALLBACK = "http://localhost:8080/oauth/callback/demo"
CLIENT = {"client_id": "66f0c1d2e3a4b5968778695a-demo", "client_secret": "client-secret-of-the-tests"}
V2 = {"Version": "2021-07-28"}
LOCATION = "ve9EPM428h8vShlRW1KT"


@pytest.fixture
async def http(simulator):
    async with aiohttp.ClientSession(simulator.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def asked(**changes):
    return {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": CALLBACK,
        "scope": "contacts.readonly oauth.readonly oauth.write",
        "state": "our state",
        **changes,
    }


async def post_token(http, **fields):
    async with http.post("/oauth/token", data={**CLIENT, **fields}) as response:
        return response.status, await response.json()


async def consent_code(http, **changes):
    query = asked(approve="1", **changes)
    async with http.get("/v2/oauth/chooselocation", params=query, allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        target = urlsplit(response.headers["Location"])
    return parse_qs(target.query)["code"][0]


def bearer(token):
    return {"Authorization": f"Bearer {token['access_token']}", **V2}


async def test_the_consent_page_lists_what_is_asked_for_and_its_form_leads_back_with_code_and_state(http):
    async with http.get("/v2/oauth/chooselocation", params=asked()) as response:
        page = await response.text()
    assert response.status == 200
    assert "<code>contacts.readonly</code>" in page
    async with http.post("/v2/oauth/chooselocation", data=asked(), allow_redirects=False) as response:
        assert response.status == 302
        target = urlsplit(response.headers["Location"])
    assert target._replace(query="").geturl() == CALLBACK
    assert parse_qs(target.query)["state"] == ["our state"]
    status, token = await post_token(
        http, grant_type="authorization_code", code=parse_qs(target.query)["code"][0], redirect_uri=CALLBACK
    )
    assert (status, token["userType"], token["isBulkInstallation"]) == (200, "Company", True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"client_id": "another-app"}, "No integration found"),
        ({"redirect_uri": "https://elsewhere.example.com/callback"}, "redirect_uri"),
        ({"redirect_uri": ""}, "redirect_uri"),
        ({"response_type": "token"}, "response_type"),
    ],
)
async def test_a_wrong_request_for_consent_gets_a_page_and_no_redirect(http, change, told):
    query = asked(approve="1", **change)
    async with http.get("/v2/oauth/chooselocation", params=query, allow_redirects=False) as response:
        assert response.status == 400
        assert told in await response.text()


async def test_what_the_request_says_can_not_become_html(http):
    async with http.get("/v2/oauth/chooselocation", params=asked(state='"><script>alert(1)</script>')) as response:
        assert "<script>" not in await response.text()


async def test_an_unknown_scope_fails_only_after_consent_and_without_a_callback(simulator_settings):
    scopes = tuple(sorted(KNOWN_SCOPES))
    app = App.model_validate({**CLIENT, "scopes": scopes})
    settings = simulator_settings.model_copy(update={"apps": {"demo": app}})
    async with running_simulator(settings) as simulator, aiohttp.ClientSession(simulator.url) as http:
        query = asked(scope="contacts.readonly yesterdays.scope")
        async with http.get("/v2/oauth/chooselocation", params=query) as response:
            assert response.status == 200
        async with http.post("/v2/oauth/chooselocation", data=query, allow_redirects=False) as response:
            assert response.status == 400
            assert "Integration cannot be added" in await response.text()


async def test_a_bulk_install_goes_from_consent_over_installed_locations_to_a_token_of_each(http):
    code = await consent_code(http)
    status, company = await post_token(http, grant_type="authorization_code", code=code, user_type="Company")
    assert status == 200
    assert "locationId" not in company
    query = {"companyId": company["companyId"], "appId": "66f0c1d2e3a4b5968778695a", "isInstalled": "true"}
    seen, skip = [], 0
    while True:
        page = {**query, "skip": str(skip), "limit": "10"}
        async with http.get("/oauth/installedLocations", params=page, headers=bearer(company)) as response:
            answer = await response.json()
        if not answer["locations"]:
            break
        seen += [each["_id"] for each in answer["locations"]]
        skip += 10
    assert len(seen) == len(set(seen)) == answer["count"] > 10
    assert LOCATION in seen
    wanted = {"companyId": company["companyId"], "locationId": LOCATION}
    async with http.post("/oauth/locationToken", data=wanted, headers=bearer(company)) as response:
        location = await response.json()
    assert (location["userType"], location["locationId"]) == ("Location", LOCATION)
    async with http.get("/contacts/", params={"locationId": LOCATION}, headers=bearer(location)) as response:
        assert response.status == 200
    async with http.get("/contacts/", params={"locationId": LOCATION}, headers=bearer(company)) as response:
        assert response.status == 403


async def test_consent_for_one_location_yields_its_token(http):
    code = await consent_code(http, location=LOCATION)
    _, token = await post_token(http, grant_type="authorization_code", code=code)
    assert (token["userType"], token["locationId"]) == ("Location", LOCATION)


async def test_an_app_for_agencies_gets_a_company_token_that_is_no_bulk_install(simulator_settings):
    settings = simulator_settings.model_copy(
        update={"apps": {"demo": App.model_validate({**CLIENT, "level": "company"})}}
    )
    async with running_simulator(settings) as simulator, aiohttp.ClientSession(simulator.url) as http:
        _, token = await post_token(http, grant_type="authorization_code", code=await consent_code(http))
        assert (token["userType"], token["isBulkInstallation"]) == ("Company", False)


async def test_a_code_works_once(http, simulator):
    code = simulator.code(LOCATION)
    assert (await post_token(http, grant_type="authorization_code", code=code))[0] == 200
    assert (await post_token(http, grant_type="authorization_code", code=code))[0] == 400


async def test_a_code_works_only_for_its_redirect_uri(http):
    code = await consent_code(http)
    wrong = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost:8080/other"}
    assert (await post_token(http, **wrong))[0] == 400


async def test_a_refresh_gives_new_tokens_and_within_the_grace_the_same_ones_again(http, simulator):
    old = simulator.grant(LOCATION)
    fields = {"grant_type": "refresh_token", "refresh_token": old["refresh_token"], "user_type": "Location"}
    _, first = await post_token(http, **fields)
    assert first["refresh_token"] != old["refresh_token"]
    simulator.clock.move(29)
    assert await post_token(http, **fields) == (200, first)
    simulator.clock.move(2)
    status, refused = await post_token(http, **fields)
    assert (status, refused["message"]) == (400, "Invalid grant: refresh token is invalid")
    assert (await post_token(http, **{**fields, "refresh_token": first["refresh_token"]}))[0] == 200


async def test_an_access_token_ends_after_a_day(http, simulator):
    token = simulator.grant(LOCATION)
    simulator.clock.move(token["expires_in"] + 1)
    async with http.get("/contacts/", params={"locationId": LOCATION}, headers=bearer(token)) as response:
        assert (response.status, (await response.json())["message"]) == (401, "Invalid JWT")


async def test_a_paused_location_keeps_its_refresh_token_for_later(http, simulator):
    token = simulator.grant(LOCATION)
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    simulator.set_active(LOCATION, active=False)
    status, refused = await post_token(http, **fields)
    assert (status, refused["message"]) == (400, "Location is not active")
    simulator.set_active(LOCATION, active=True)
    assert (await post_token(http, **fields))[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"client_secret": "wrong"}, 401, "Invalid client credentials"),
        ({"client_id": "unknown"}, 401, "Invalid client credentials"),
        ({"grant_type": ""}, 422, ["grant_type should not be empty"]),
        ({"grant_type": "password"}, 422, ["grant_type must be a valid enum value"]),
        ({"user_type": "Agency"}, 422, ["user_type must be a valid enum value"]),
        ({"refresh_token": "unknown"}, 400, "Invalid grant: refresh token is invalid"),
        ({"user_type": "Company"}, 400, "Invalid parameter: user_type"),
    ],
)
async def test_a_wrong_refresh_is_refused_in_the_vendors_words(http, simulator, change, status, told):
    fields = {"grant_type": "refresh_token", "refresh_token": simulator.grant(LOCATION)["refresh_token"], **change}
    answered, refused = await post_token(http, **fields)
    assert (answered, refused["message"], refused["statusCode"]) == (status, told, status)
    assert refused["traceId"]


async def test_tokens_are_given_for_json_too(http, simulator):
    fields = {**CLIENT, "grant_type": "authorization_code", "code": simulator.code(LOCATION)}
    async with http.post("/oauth/token", json=fields) as response:
        assert response.status == 200


async def test_reconnect_is_gone(http):
    async with http.post("/oauth/reconnect", json=CLIENT) as response:
        assert (response.status, "removed" in (await response.json())["message"]) == (400, True)


async def test_an_uninstall_ends_the_tokens(http, simulator):
    company = simulator.grant()
    location = simulator.grant(LOCATION)
    simulator.uninstall(LOCATION)
    async with http.get("/contacts/", params={"locationId": LOCATION}, headers=bearer(location)) as response:
        assert response.status == 401
    fields = {"grant_type": "refresh_token", "refresh_token": location["refresh_token"]}
    assert (await post_token(http, **fields))[0] == 400
    wanted = {"companyId": company["companyId"], "locationId": LOCATION}
    async with http.post("/oauth/locationToken", data=wanted, headers=bearer(company)) as response:
        assert response.status == 400
    simulator.uninstall(simulator.company)
    query = {"companyId": company["companyId"], "appId": "66f0c1d2e3a4b5968778695a"}
    async with http.get("/oauth/installedLocations", params=query, headers=bearer(company)) as response:
        assert response.status == 401


async def test_an_exchange_may_give_no_refresh_token(http, simulator):
    simulator.install(LOCATION)
    company = simulator.grant()
    wanted = {"companyId": company["companyId"], "locationId": LOCATION}
    async with http.post("/oauth/locationToken", data=wanted, headers=bearer(company)) as response:
        assert "refresh_token" in await response.json()
    async with http.post("/_simulator/faults", json={"exchange_gives_refresh_token": False}) as response:
        assert response.status == 200
    async with http.post("/oauth/locationToken", data=wanted, headers=bearer(company)) as response:
        assert "refresh_token" not in await response.json()


async def test_a_v2_path_asked_for_as_v3_is_refused(http, simulator):
    company = simulator.grant()
    query = {"companyId": company["companyId"], "appId": "66f0c1d2e3a4b5968778695a"}
    headers = {**bearer(company), "Version": "v3"}
    async with http.get("/oauth/installedLocations", params=query, headers=headers) as response:
        assert response.status == 400
        assert "not available in API version v3" in (await response.json())["message"]
