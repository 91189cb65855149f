"""The browser's way through an install, with the simulated vendor, a real Postgres, and no Kafka."""

import html
import http.cookies
import re

import pytest
from itsdangerous import TimestampSigner
from pydantic import SecretStr
from yarl import URL

from ingest.callback import COOKIE
from levelgate.local.processes import free_port
from tests.support.receiver import running_receiver

LOCATION = "loc-of-the-test-0001"

# Where there is no Kafka aiokafka says so in its own log.
pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def installable(simulator, database_url):
    """Settings that point at the simulated vendor and at a real Postgres; the callback needs no Kafka."""
    settings = simulator.settings
    no_kafka = settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    return settings.model_copy(update={"database_url": SecretStr(database_url), "kafka": no_kafka})


@pytest.fixture
async def receiver(installable):
    async with running_receiver(installable, ready=False) as receiver:
        yield Browser(receiver)


class Browser:
    """A browser that follows no redirect by itself, and keeps the cookie."""

    def __init__(self, receiver) -> None:
        self.receiver = receiver
        self.session = receiver.session
        self.cookie = ""

    async def get(self, url, **query):
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        target = URL(url) if str(url).startswith("http") else URL(self.receiver.url + url)
        if query:
            target = target.update_query(query)
        async with self.session.get(target, headers=headers, allow_redirects=False) as response:
            return Page(response, await response.text())

    async def start(self, app="demo"):
        """Begin an install; return the query of the consent page's address."""
        page = await self.get(f"/oauth/start/{app}")
        assert page.status == 302
        self.cookie = page.cookies[COOKIE].value
        return URL(page.headers["Location"]).query

    def counted(self, outcome, app="demo"):
        return self.receiver.count("levelgate_oauth_callbacks_total", app=app, outcome=outcome)


class Page:
    def __init__(self, response, text) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = text
        self.cookies = http.cookies.SimpleCookie()
        for line in response.headers.getall("Set-Cookie", []):
            self.cookies.load(line)

    @property
    def title(self) -> str:
        return html.unescape("".join(re.findall("<h1>(.*)</h1>", self.text)))


async def installations(pool):
    return {
        (row["tenant"], row["level"]): row["access_token"]
        for row in await pool.fetch("SELECT tenant, level, access_token FROM installation")
    }


async def test_start_sends_the_browser_to_the_consent_page_with_a_state_and_a_cookie(receiver, installable):
    page = await receiver.get("/oauth/start/demo")
    assert page.status == 302
    target = URL(page.headers["Location"])
    assert str(target.with_query(None)) == installable.vendor.consent_url
    assert target.query["client_id"] == installable.apps["demo"].client_id
    assert target.query["response_type"] == "code"
    assert target.query["redirect_uri"] == "http://localhost:8080/oauth/callback/demo"
    cookie = page.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/oauth")
    assert cookie.value not in target.query["state"]
    assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_the_cookie_is_secure_where_the_receiver_is_called_by_https(installable):
    public = installable.receiver.model_copy(update={"public_url": "https://hooks.example.com/"})
    async with running_receiver(installable.model_copy(update={"receiver": public}), ready=False) as running:
        page = await Browser(running).get("/oauth/start/demo")
    assert page.cookies[COOKIE]["secure"]
    assert URL(page.headers["Location"]).query["redirect_uri"] == "https://hooks.example.com/oauth/callback/demo"


async def test_a_location_that_consents_has_its_token_stored(receiver, simulator, pool):
    query = await receiver.start()
    page = await receiver.get("/oauth/callback/demo", code=simulator.code(LOCATION), state=query["state"])
    assert (page.status, page.title) == (200, "The app is connected")
    stored = await installations(pool)
    assert set(stored) == {(LOCATION, "location")}
    assert stored[LOCATION, "location"] is not None
    assert receiver.counted("installed") == 1
    assert page.cookies[COOKIE].value == ""


async def test_a_bulk_install_makes_the_agency_and_its_locations_known(receiver, simulator, pool):
    simulator.install(LOCATION)
    query = await receiver.start()
    page = await receiver.get("/oauth/callback/demo", code=simulator.code(), state=query["state"])
    assert (page.status, page.title) == (200, "The app is connected to your agency")
    stored = await installations(pool)
    assert stored[simulator.company, "company"] is not None
    assert stored[LOCATION, "location"] is not None


async def test_the_whole_chain_through_the_consent_page_ends_in_a_stored_token(simulator, installable, pool):
    port = free_port()
    public = installable.receiver.model_copy(update={"public_url": f"http://127.0.0.1:{port}", "port": port})
    settings = installable.model_copy(update={"receiver": public})
    async with running_receiver(settings, ready=False, port=port) as running:
        browser = Browser(running)
        start = await browser.get("/oauth/start/demo")
        browser.cookie = start.cookies[COOKIE].value
        consent = await browser.get(start.headers["Location"], approve="1", location=LOCATION)
        assert consent.status == 302
        page = await browser.get(consent.headers["Location"])
    assert (page.status, page.title) == (200, "The app is connected")
    assert (LOCATION, "location") in await installations(pool)


@pytest.mark.parametrize("path", ["/oauth/callback/demo", "/oauth/callback/gohighlevel"])
async def test_an_install_begun_at_the_vendor_has_no_state_and_is_accepted(receiver, simulator, pool, path):
    page = await receiver.get(path, code=simulator.code(LOCATION))
    assert page.status == 200
    assert (LOCATION, "location") in await installations(pool)
    assert all(not morsel.value for morsel in page.cookies.values()), "it must not be bound to the browser"


async def test_with_a_state_the_alias_finds_the_app(receiver, simulator, pool):
    query = await receiver.start()
    page = await receiver.get("/oauth/callback/gohighlevel", code=simulator.code(LOCATION), state=query["state"])
    assert page.status == 200
    assert (LOCATION, "location") in await installations(pool)


async def test_of_two_apps_the_alias_knows_none_without_a_state(installable, simulator):
    both = installable.model_copy(update={"apps": {"demo": installable.apps["demo"], "two": installable.apps["demo"]}})
    async with running_receiver(both, ready=False) as running:
        page = await Browser(running).get("/oauth/callback/gohighlevel", code=simulator.code(LOCATION))
    assert (page.status, page.title) == (404, "There is no such app here")
    assert simulator.calls("POST /oauth/token authorization_code") == 0


@pytest.mark.parametrize("path", ["/oauth/start/nobody", "/oauth/callback/nobody?code=c", "/oauth/start/%3Cscript%3E"])
async def test_an_unknown_app_is_told_so(receiver, path):
    page = await receiver.get(path)
    assert (page.status, page.title) == (404, "There is no such app here")
    assert "nobody" not in page.text
    assert "script" not in page.text


async def refused(receiver, simulator, state, *, app="demo"):
    page = await receiver.get(f"/oauth/callback/{app}", code=simulator.code(LOCATION), state=state)
    assert simulator.calls("POST /oauth/token authorization_code") == 0, "the code must not be spent"
    return page


@pytest.mark.parametrize("state", ["", "x", "a.b.c", "\x00", "ü" * 500])
async def test_an_invented_state_is_refused(receiver, simulator, state):
    await receiver.start()
    page = await refused(receiver, simulator, state)
    assert (page.status, page.title) == (400, "This installation was not begun in this browser")
    assert receiver.counted("wrong_state") == 1


async def test_another_browsers_state_is_refused(receiver, simulator):
    stolen = (await receiver.start())["state"]
    await receiver.start()
    assert (await refused(receiver, simulator, stolen)).status == 400


async def test_a_state_without_its_cookie_is_refused(receiver, simulator):
    query = await receiver.start()
    receiver.cookie = ""
    assert (await refused(receiver, simulator, query["state"])).status == 400


async def test_a_state_of_another_app_is_refused(installable, simulator):
    both = installable.model_copy(update={"apps": {"demo": installable.apps["demo"], "two": installable.apps["demo"]}})
    async with running_receiver(both, ready=False) as running:
        browser = Browser(running)
        query = await browser.start("two")
        assert (await refused(browser, simulator, query["state"], app="demo")).status == 400


async def test_a_state_older_than_ten_minutes_is_refused(receiver, simulator, monkeypatch):
    get_timestamp = TimestampSigner.get_timestamp
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: get_timestamp(self) - 601)
    query = await receiver.start()
    monkeypatch.undo()
    page = await refused(receiver, simulator, query["state"])
    assert (page.status, page.title) == (400, "This took too long")
    assert 'href="/oauth/start/demo"' in page.text


async def test_who_says_no_is_shown_that_nothing_happened(receiver):
    query = await receiver.start()
    page = await receiver.get("/oauth/callback/demo", error="access_denied", state=query["state"])
    assert (page.status, page.title) == (403, "The app was not connected")


@pytest.mark.parametrize("code", ["", "x" * 5000])
async def test_a_callback_without_a_usable_code_is_told_what_it_is_for(receiver, code):
    page = await receiver.get("/oauth/callback/demo", code=code)
    assert (page.status, page.title) == (400, "Something is missing")


async def test_a_code_that_the_vendor_refuses_is_told(receiver, simulator):
    code = simulator.code(LOCATION)
    assert (await receiver.get("/oauth/callback/demo", code=code)).status == 200
    page = await receiver.get("/oauth/callback/demo", code=code)
    assert (page.status, page.title) == (400, "The installation was not confirmed")


async def test_a_vendor_that_does_not_answer_is_told(receiver, simulator):
    simulator.fault("error", "/oauth/token", times=None)
    page = await receiver.get("/oauth/callback/demo", code=simulator.code(LOCATION))
    assert (page.status, page.title) == (502, "The marketplace did not answer")


async def test_with_postgres_away_the_code_is_not_spent(installable, simulator):
    away = installable.model_copy(update={"database_url": SecretStr(f"postgresql://x@127.0.0.1:{free_port()}/x")})
    async with running_receiver(away, ready=False) as running:
        page = await Browser(running).get("/oauth/callback/demo", code=simulator.code(LOCATION))
    assert (page.status, page.title) == (503, "We can't finish this right now")
    assert simulator.calls("POST /oauth/token authorization_code") == 0


@pytest.mark.expected_errors("^aiokafka", "oauth_callback_failed")
async def test_anything_unforeseen_still_shows_a_page(receiver, simulator, monkeypatch, caplog):
    async def broken(*_, **__):
        raise RuntimeError("SECRET-CODE")

    monkeypatch.setattr("ingest.callback.exchange_code", broken)
    page = await receiver.get("/oauth/callback/demo", code=simulator.code(LOCATION))
    assert (page.status, page.title) == (500, "Something went wrong on our side")
    assert receiver.counted("failed") == 1
    assert "SECRET-CODE" not in caplog.text


async def test_a_link_preview_does_not_spend_the_code(receiver, simulator):
    code = simulator.code(LOCATION)
    url = f"{receiver.receiver.url}/oauth/callback/demo?code={code}"
    async with receiver.session.head(url) as response:
        assert response.status == 405
    assert simulator.calls("POST /oauth/token authorization_code") == 0


async def test_a_page_loads_nothing_repeats_nothing_and_is_kept_by_nobody(receiver):
    page = await receiver.get("/oauth/callback/demo", error="<script>alert(1)</script>", error_description="EVIL")
    assert "<script" not in page.text
    assert "EVIL" not in page.text
    assert not re.search(r"(src|href)=\"(?!/oauth/start/)", page.text)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


async def test_codes_states_and_tokens_are_in_no_log(receiver, simulator, pool, caplog):
    caplog.set_level("DEBUG")
    query = await receiver.start()
    code = simulator.code(LOCATION)
    await receiver.get("/oauth/callback/demo", code=code, state=query["state"])
    await receiver.get("/oauth/callback/demo", code=code, state="INVENTED-STATE")
    await receiver.get("/oauth/callback/demo", code="INVENTED-CODE")
    assert "oauth_callback_answered" in caplog.text
    ours = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("levelgate.simulator")
    )
    for secret in (code, query["state"], receiver.cookie, "INVENTED-STATE", "INVENTED-CODE", "eyJ", "client-secret"):
        assert secret not in ours
