"""Marked secrets and bodies poured through every path, errors included: none of it is in the logs of any part."""

import asyncio
import io
import logging

import orjson
import pytest
from pydantic import SecretStr
from yarl import URL

from levelgate import Permanent
from levelgate.broker import apply_topics
from processors.deliveries import states
from schemas.logs import configure_logs
from schemas.settings import Log
from tests.support.cable import Cable
from tests.support.eventually import eventually
from tests.support.receiver import running_receiver, with_receiver
from tests.support.workers import handler, quick, working

pytestmark = pytest.mark.expected_errors("^aiokafka", "postgres_unavailable")

LOCATION = "loc-of-the-test-0001"
BODY = "marked-body"
ID = "marked"  # every id of these deliveries begins so; ids may be logged, bodies may not
PROVIDER_SECRET = "marked-provider-secret"


@pytest.fixture(params=["json", "console"])
def logs(request):
    """What the processes of production would write, at the most talkative level."""
    configure_logs(Log(level="debug", format=request.param))
    (writer,) = logging.getLogger().handlers
    written = io.StringIO()
    assert isinstance(writer, logging.StreamHandler)
    writer.setStream(written)
    return written


@pytest.fixture
def settings(settings, simulator):
    settings = simulator.point(quick(settings, group=f"leaks-{settings.kafka.topic_prefix}", max_attempts=2))
    demo = settings.apps["demo"].model_copy(update={"provider_secret": SecretStr(PROVIDER_SECRET)})
    return with_receiver(
        settings.model_copy(update={"apps": {"demo": demo}}), public_url="http://127.0.0.1:8080", max_body_bytes=4096
    )


def contact(number, **fields):
    return {
        "type": "ContactCreate",
        "locationId": LOCATION,
        "id": f"contact-{number}",
        "webhookId": f"{ID}-{number}",
        "firstName": BODY,
        "email": f"{BODY}@example.com",
    } | fields


async def test_no_secret_and_no_body_is_logged_on_any_path(settings, simulator, pool, logs):
    async def quotes(event, ctx):
        raise ValueError(f"can't use {event.raw} at {settings.database_url.get_secret_value()}")

    async def gives_up(event, ctx):
        raise Permanent(f"not with {event.raw}")

    async def calls(event, ctx):
        await ctx.api.contacts.get(event.id)

    async def queries(event, ctx):
        await ctx.db.execute("SELECT 1 / 0, $1::text", BODY)

    secrets = {
        settings.apps["demo"].client_secret.get_secret_value(),
        settings.secret_key.get_secret_value(),
        settings.token_keys.get_secret_value().partition(":")[2],
        PROVIDER_SECRET,
        BODY,
    }
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    async with Cable.to(settings.database_url.get_secret_value()) as (cable, url):
        secrets.add(URL(url).password or "")
        settings = settings.model_copy(update={"database_url": SecretStr(url)})
        handlers = [handler(each) for each in (quotes, gives_up, calls, queries)]
        async with running_receiver(settings) as receiver, working(settings, *handlers):
            await _browse(receiver, simulator, secrets)
            simulator.put("contact", LOCATION, {"id": "contact-1", "firstName": BODY})
            for effect in ("error", "lost", "slow"):
                simulator.fault(effect, "/contacts", times=2)
            simulator.fault("error", "/oauth", times=2)
            handled = await _send(receiver, simulator)
            cable.cut()
            await receiver.get(f"/oauth/callback/demo?code={BODY}")
            cable.mend()
            await eventually(
                lambda: states(pool, handled),
                lambda seen: set(handled) <= set(seen) and "accepted" not in seen.values(),
                within_s=60,
            )
        secrets |= {token for kind in ("access", "refresh") for token, _ in simulator.vendor.store.all(kind)}

    text = logs.getvalue()
    assert "dead" in text, "nothing was logged: the test is blind"
    assert [secret for secret in secrets if secret in text] == []


async def _browse(receiver, simulator, secrets):
    """An install that works, and callbacks with codes and states that don't."""
    code = simulator.code(LOCATION)
    secrets.add(code)
    for query in (f"code={BODY}", f"code={BODY}&state={BODY}", f"error={BODY}", f"code={code}"):
        await receiver.get(f"/oauth/callback/demo?{query}")
    await receiver.get("/oauth/start/demo")
    await receiver.get(f"/oauth/callback/{BODY}?code={BODY}")


async def _send(receiver, simulator):
    """Webhooks of every kind; return the ids of those that a worker gets."""

    async def send(body, path="/webhooks/demo", scheme="ed25519"):
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = simulator.sign(raw, scheme) | {"Content-Type": "application/json"}
        async with receiver.session.post(receiver.url + path, data=raw, headers=headers) as answer:
            return answer.status, await answer.json()

    taken = [
        contact(1),
        contact(2),
        contact(3, type="BrandNewThing"),
        contact(4, tags={"not": BODY}),
        contact(5, timestamp="2001-01-01T00:00:00Z"),
    ]
    ids = []
    for body in taken:
        status, answer = await send(body)
        assert status == 200, answer
        ids.append(answer["id"])
    for raw in (BODY.encode(), f'["{BODY}"]'.encode(), f'{{"a": "{BODY}"'.encode(), f'"{BODY}"'.encode()):
        status, answer = await send(raw)
        assert (status, answer["status"]) == (200, "quarantined")
    for body, path, scheme in (
        (contact(6), "/webhooks/demo", "wrong"),
        (contact(6), "/webhooks/demo", "none"),
        (contact(6, appId=BODY), "/webhooks/demo", "ed25519"),
        (contact(6, firstName=BODY * 1000), "/webhooks/demo", "ed25519"),
        (contact(6), f"/webhooks/{BODY}", "ed25519"),
        (contact(6), f"/providers/demo/{BODY}", "none"),
        (contact(6), f"/providers/demo/{PROVIDER_SECRET}", "none"),
    ):
        await send(body, path, scheme)
    await _speak_no_http(receiver)
    return ids


async def _speak_no_http(receiver):
    url = URL(receiver.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"POST /providers/demo/{PROVIDER_SECRET} HTTP/9.9\r\nX: {BODY}\x00\r\n\r\n{BODY}".encode())
    await writer.drain()
    await reader.read()
    writer.close()
    await writer.wait_closed()
