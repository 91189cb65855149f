"""The vendor's OAuth endpoints as we call them: what comes back, and which error each refusal is."""

from collections.abc import Awaitable

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from yarl import URL

from levelgate.highlevel import oauth
from levelgate.highlevel.oauth import Grant, GrantRefused, Refusal
from levelgate.highlevel.wire import open_session
from schemas.errors import ApiUnavailable, RateLimited
from schemas.ids import CompanyId, LocationId, TenantId
from schemas.settings import App
from tests.fixtures.simulator import RunningSimulator

CALLBACK = "http://localhost/oauth/callback/demo"
LOCATION = LocationId("loc000000000000000001")
TENANT = TenantId(LOCATION)


@pytest.fixture
async def session():
    async with open_session() as session:
        yield session


@pytest.fixture
def app(simulator):
    return simulator.settings.apps["demo"]


def refreshing(session: ClientSession, simulator: RunningSimulator, app: App, token: str) -> Awaitable[Grant]:
    return oauth.refresh(session, simulator.settings.vendor, app, refresh_token=SecretStr(token), level="location")


def exchanging(
    session: ClientSession, simulator: RunningSimulator, token: str, location: LocationId = LOCATION
) -> Awaitable[Grant]:
    return oauth.location_token(
        session,
        simulator.settings.vendor,
        company_token=SecretStr(token),
        company=CompanyId(simulator.company),
        location=location,
    )


async def refused(call: Awaitable[Grant]) -> GrantRefused:
    with pytest.raises(GrantRefused) as caught:
        await call
    return caught.value


async def test_consent_leads_back_with_a_code_that_gives_a_bulk_grant(session, simulator, app):
    url = oauth.consent_url(simulator.settings.vendor, app, redirect_uri=CALLBACK, state="our state")
    async with session.get(URL(url).update_query(approve="1"), allow_redirects=False) as response:
        back = URL(response.headers["Location"])
    assert back.with_query(None) == URL(CALLBACK)
    assert back.query["state"] == "our state"
    grant = await oauth.exchange_code(
        session, simulator.settings.vendor, app, code=back.query["code"], redirect_uri=CALLBACK
    )
    assert (grant.level, grant.company, grant.is_bulk) == ("company", simulator.company, True)
    assert grant.tenant == simulator.company
    assert "contacts.readonly" in grant.scopes
    assert grant.refresh_token is not None


async def test_a_location_installs_for_itself(session, simulator, app):
    code = simulator.code(LOCATION)
    grant = await oauth.exchange_code(session, simulator.settings.vendor, app, code=code, redirect_uri=CALLBACK)
    assert (grant.level, grant.location, grant.company) == ("location", LOCATION, simulator.company)
    assert grant.tenant == TENANT


async def test_a_code_works_once(session, simulator, app):
    code = simulator.code(LOCATION)
    await oauth.exchange_code(session, simulator.settings.vendor, app, code=code, redirect_uri=CALLBACK)
    error = await refused(
        oauth.exchange_code(session, simulator.settings.vendor, app, code=code, redirect_uri=CALLBACK)
    )
    assert error.refusal is Refusal.INVALID_GRANT
    assert code not in str(error)


async def test_a_refresh_token_gives_the_same_answer_within_the_grace_and_none_after(session, simulator, app):
    token = simulator.grant(LOCATION)["refresh_token"]
    first = await refreshing(session, simulator, app, token)
    again = await refreshing(session, simulator, app, token)
    assert (again.access_token, again.refresh_token) == (first.access_token, first.refresh_token)
    simulator.clock.move(31)
    error = await refused(refreshing(session, simulator, app, token))
    assert error.refusal is Refusal.INVALID_GRANT
    assert token not in str(error)


async def test_an_inactive_location_is_told_from_an_invalid_token(session, simulator, app):
    token = simulator.grant(LOCATION)["refresh_token"]
    simulator.set_active(LOCATION, active=False)
    assert (await refused(refreshing(session, simulator, app, token))).refusal is Refusal.INACTIVE
    simulator.set_active(LOCATION, active=True)
    assert (await refreshing(session, simulator, app, token)).tenant == TENANT


async def test_a_wrong_secret_is_no_invalid_grant(session, simulator, app):
    wrong = app.model_copy(update={"client_secret": SecretStr("another")})
    error = await refused(refreshing(session, simulator, wrong, simulator.grant(LOCATION)["refresh_token"]))
    assert error.refusal is Refusal.UNAUTHORIZED


async def test_a_companys_token_gives_its_locations_tokens(session, simulator):
    simulator.install(LOCATION)
    grant = await exchanging(session, simulator, simulator.grant()["access_token"])
    assert (grant.level, grant.tenant, grant.company) == ("location", TENANT, simulator.company)


async def test_an_exchange_may_come_without_a_refresh_token(session, simulator):
    simulator.install(LOCATION)
    simulator.vendor.grants.exchange_gives_refresh_token = False
    grant = await exchanging(session, simulator, simulator.grant()["access_token"])
    assert grant.refresh_token is None


async def test_an_exchange_with_a_stale_company_token_or_for_a_strange_location_is_refused(session, simulator):
    assert (await refused(exchanging(session, simulator, "stale"))).refusal is Refusal.UNAUTHORIZED
    token = simulator.grant()["access_token"]
    assert (await refused(exchanging(session, simulator, token, LocationId("nowhere")))).refusal is Refusal.OTHER


async def test_installed_locations_come_over_all_pages(session, simulator, app):
    token = simulator.grant()["access_token"]
    wanted = {f"loc{number:018}" for number in range(230)}
    for location in wanted:
        simulator.install(location)
    found = [
        location.id
        async for location in oauth.installed_locations(
            session,
            simulator.settings.vendor,
            app,
            company_token=SecretStr(token),
            company=CompanyId(simulator.company),
        )
    ]
    assert wanted <= set(found)
    assert len(found) == len(set(found))
    assert simulator.calls("GET /oauth/installedLocations") >= 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"effect": "error", "status": 503}, ApiUnavailable),
        ({"effect": "lost"}, ApiUnavailable),
        ({"effect": "limit"}, RateLimited),
    ],
)
async def test_no_usable_answer_is_no_refusal(session, simulator, app, fault, error):
    token = simulator.grant(LOCATION)["refresh_token"]
    simulator.fault(path="/oauth/token", **fault)
    with pytest.raises(error) as caught:
        await refreshing(session, simulator, app, token)
    assert token not in str(caught.value)
