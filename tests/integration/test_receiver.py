"""One test for each row of what the vendor is answered, against a real Kafka."""

import asyncio
import contextlib
import gzip
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from levelgate.local.processes import free_port
from schemas.settings import App
from schemas.topics import Topics
from tests.support.eventually import eventually
from tests.support.receiver import running_receiver, with_receiver
from tests.support.webhooks import LOCATION, encoded, signed, webhook

pytest_plugins = ["tests.fixtures.receiver"]

PROVIDER_SECRET = "provider-secret-0123456789"


@pytest.fixture
def kafkaless(receiver_settings):
    """Settings that name a broker where none is."""
    away = receiver_settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    return receiver_settings.model_copy(update={"kafka": away})


def with_apps(receiver_settings, **apps):
    return receiver_settings.model_copy(update={"apps": apps})


async def assert_nothing_is_stored(stored):
    assert await stored() == []


async def test_an_accepted_webhook_is_in_its_topic_byte_for_byte_when_it_is_answered(receiver, stored):
    body = encoded(webhook(webhookId="w1", id="c1")).replace(b", ", b" ,\n\t")
    answer = await receiver.send(body, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    assert (answer.status, answer.word, answer.id) == (200, "accepted", "w1")
    (record,) = await stored()
    assert record.topic == Topics(receiver.kafka).events("contact")
    assert (record.key, record.value) == (LOCATION.encode(), body)
    assert record.headers["ce_specversion"] == b"1.0"
    assert record.headers["ce_id"] == b"w1"
    assert record.headers["ce_type"] == b"highlevel.ContactCreate"
    assert record.headers["ce_source"] == f"/apps/demo/tenants/{LOCATION}".encode()
    assert record.headers["ce_subject"] == b"c1"
    assert record.headers["ce_app"] == b"demo"
    assert record.headers["ce_signature"] == b"ed25519"
    assert record.headers["ce_typesource"] == b"body"
    assert record.headers["traceparent"] == b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    assert "ce_reason" not in record.headers


async def test_a_webhook_without_a_trace_gets_one(receiver, stored):
    await receiver.send(webhook(), traceparent="nonsense")
    (record,) = await stored()
    assert record.headers["traceparent"].startswith(b"00-")
    assert len(record.headers["traceparent"]) == 55


async def test_a_delivery_that_is_known_to_be_durable_is_answered_duplicate(receiver, stored):
    first = await receiver.send(webhook(webhookId="w1"))
    second = await receiver.send(webhook(webhookId="w1"))
    assert (second.status, second.word, second.id) == (200, "duplicate", first.id)
    assert len(await stored()) == 1


async def test_the_same_id_of_another_app_is_another_delivery(receiver_settings, stored):
    second = App(client_id="other-1", client_secret="s", ed25519_keys=receiver_settings.apps["demo"].ed25519_keys)
    async with running_receiver(
        with_apps(receiver_settings, demo=receiver_settings.apps["demo"], second=second)
    ) as receiver:
        await receiver.send(webhook(webhookId="w1"))
        answer = await receiver.send(webhook(webhookId="w1", appId="other"), path="/webhooks/second")
    assert answer.word == "accepted"
    assert {record.headers["ce_app"] for record in await stored()} == {b"demo", b"second"}


async def test_a_malformed_webhook_is_kept_in_quarantine_and_answered_200(receiver, stored):
    answer = await receiver.send(b'{"type": "ContactCreate", ')
    assert (answer.status, answer.word) == (200, "quarantined")
    (record,) = await stored()
    assert record.topic == Topics(receiver.kafka).quarantine
    assert record.value == b'{"type": "ContactCreate", '
    assert record.headers["ce_reason"] == b"not_json"
    assert record.id == answer.id


async def test_an_unknown_type_is_accepted_into_the_unknown_family(receiver, stored):
    answer = await receiver.send(webhook("BrandNewEvent"))
    assert (answer.status, answer.word) == (200, "accepted")
    (record,) = await stored()
    assert record.topic == Topics(receiver.kafka).events("unknown")


@pytest.mark.parametrize("scheme", ["none", "wrong", "N/A", "rsa"])
async def test_no_or_a_wrong_signature_is_answered_401_and_nothing_is_stored(receiver, stored, scheme):
    answer = await receiver.send(webhook(), scheme=scheme)
    assert (answer.status, answer.word, answer.id) == (401, "unauthenticated", None)
    await assert_nothing_is_stored(stored)
    assert receiver.count("levelgate_deliveries_received_total", app="demo", outcome="unauthenticated") == 1


async def test_a_good_rsa_signature_does_not_make_up_for_a_wrong_ed25519_one(receiver_settings):
    trusting = receiver_settings.apps["demo"].model_copy(update={"rsa_until": datetime.now(UTC).date()})
    async with running_receiver(with_apps(receiver_settings, demo=trusting)) as receiver:
        body = encoded(webhook())
        both = signed(body, "wrong") | signed(body, "rsa")
        assert (await receiver.send(body, scheme="rsa")).status == 200
        assert (await receiver.send(body, **{k: v for k, v in both.items() if k != "Content-Type"})).status == 401


async def test_another_apps_webhook_is_answered_401_and_counted_apart(receiver, stored):
    answer = await receiver.send(webhook(appId="66f0c1d2e3a4b5968778695b"))
    assert (answer.status, answer.word) == (401, "foreign_app")
    await assert_nothing_is_stored(stored)
    assert receiver.count("levelgate_deliveries_received_total", app="demo", outcome="foreign_app") == 1


async def test_a_body_without_app_id_is_accepted(receiver):
    assert (await receiver.send(webhook(appId=...))).word == "accepted"


@pytest.mark.parametrize("path", ["/webhooks/nobody", "/webhooks/nobody/ContactCreate", "/providers/nobody/secret"])
async def test_an_unknown_app_is_answered_404(receiver, stored, path):
    answer = await receiver.send(webhook(), path=path)
    assert (answer.status, answer.word) == (404, "unknown_app")
    await assert_nothing_is_stored(stored)


async def test_the_only_app_needs_no_name_in_the_path(receiver):
    assert (await receiver.send(webhook(), path="/webhooks")).word == "accepted"


async def test_of_two_apps_the_path_must_name_one(receiver_settings):
    async with running_receiver(
        with_apps(receiver_settings, demo=receiver_settings.apps["demo"], second=receiver_settings.apps["demo"])
    ) as receiver:
        assert (await receiver.send(webhook(), path="/webhooks")).status == 404
        assert (await receiver.send(webhook(), path="/webhooks/second")).status == 200


async def test_the_path_names_the_event_where_the_body_does_not(receiver, stored):
    answer = await receiver.send(webhook(...), path="/webhooks/demo/InvoicePaid")
    assert answer.word == "accepted"
    (record,) = await stored()
    assert record.headers["ce_type"] == b"highlevel.InvoicePaid"
    assert record.headers["ce_typesource"] == b"path"


async def test_a_body_over_the_limit_is_answered_413_before_it_is_read(receiver, stored):
    reader, writer = await connected(receiver)
    writer.write(
        b"POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    assert b"413" in await reader.readline()
    await closed(writer)
    await assert_nothing_is_stored(stored)


async def test_a_body_that_turns_out_to_be_over_the_limit_is_answered_413_when_it_does(receiver, stored):
    reader, writer = await connected(receiver)
    writer.write(
        b"POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(17):  # never the last chunk: a whole body is not waited for
        writer.write(chunk)
        await writer.drain()
    assert b"413" in await reader.readline()
    await closed(writer)
    await assert_nothing_is_stored(stored)


async def test_a_body_at_the_limit_is_taken(receiver):
    body = encoded(webhook(padding=""))
    padded = body.replace(b'"padding": ""', b'"padding": "%s"' % (b"x" * (1024 * 1024 - len(body))))
    assert len(padded) == 1024 * 1024
    assert (await receiver.send(padded)).word == "accepted"
    assert (await receiver.send(padded + b" ")).status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_what_does_not_call_itself_json_is_answered_415(receiver, stored, kind):
    answer = await receiver.send(webhook(), Content_Type=kind)
    assert (answer.status, answer.word) == (415, "unsupported_type")
    await assert_nothing_is_stored(stored)


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/cloudevents+json", "Application/JSON"]
)
async def test_json_by_any_of_its_names_is_taken(receiver, kind):
    assert (await receiver.send(webhook(), Content_Type=kind)).word == "accepted"


async def test_a_compressed_body_is_answered_415_and_never_unpacked(receiver, stored):
    answer = await receiver.send(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")
    assert (answer.status, answer.word) == (415, "unsupported_type")
    await assert_nothing_is_stored(stored)


async def test_what_is_older_than_the_ledger_remembers_is_kept_as_stale(receiver, stored):
    at = datetime.now(UTC) - timedelta(days=36)
    answer = await receiver.send(webhook(timestamp=at.isoformat()))
    assert (answer.status, answer.word) == (200, "quarantined")
    (record,) = await stored()
    assert record.headers["ce_reason"] == b"stale"
    assert record.headers["ce_time"] == at.isoformat().encode()


@pytest.mark.expected_errors("^aiokafka")
async def test_without_a_broker_it_runs_is_not_ready_and_answers_429(kafkaless):
    async with running_receiver(with_receiver(kafkaless, publish_timeout_s=0.3), ready=False) as receiver:
        answer = await receiver.send(webhook())
        assert (answer.status, answer.word, answer.id) == (429, "unavailable", None)
        assert answer.headers["Retry-After"] == "30"
        assert (await receiver.get("/livez"))[0] == 200
        status, said = await receiver.get("/readyz")
        assert (status, said) == (503, '{"ready":false,"kafka":false,"stopping":false}')


async def test_more_at_once_than_it_takes_are_answered_429(receiver_settings):
    async with running_receiver(with_receiver(receiver_settings, max_in_flight=1)) as receiver:
        body = encoded(webhook())
        reader, writer = await begun(receiver, body)
        answer = await eventually(lambda: receiver.send(webhook(webhookId="w2")), lambda a: a.status == 429)
        assert (answer.word, answer.headers["Retry-After"]) == ("overloaded", "30")
        writer.write(body[10:])
        assert b"200" in await reader.readline()
        await closed(writer)
        assert (await receiver.send(webhook(webhookId="w3"))).status == 200


async def test_while_it_stops_what_was_taken_is_answered_and_new_ones_get_429(receiver, stored):
    body = encoded(webhook(webhookId="taken"))
    reader, writer = await begun(receiver, body)
    await eventually(lambda: receiver.count("levelgate_receive_in_flight") == 1)
    stopping = asyncio.create_task(receiver.webhooks.stop(10))
    answer = await eventually(lambda: receiver.send(webhook(webhookId="late")), lambda a: a.word == "stopping")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "30")
    assert await receiver.get("/readyz") == (503, '{"ready":false,"kafka":true,"stopping":true}')
    assert not stopping.done()
    writer.write(body[10:])
    assert b"200" in await reader.readline()
    await closed(writer)
    await stopping
    assert "taken" in {record.id for record in await stored()}


async def test_stopping_does_not_wait_longer_than_its_grace(receiver):
    reader, writer = await begun(receiver, encoded(webhook()))
    await eventually(lambda: receiver.count("levelgate_receive_in_flight") == 1)
    async with asyncio.timeout(2):
        await receiver.webhooks.stop(0.1)
    await closed(writer)
    await reader.read()


@pytest.mark.expected_errors("webhook_failed")
async def test_anything_unforeseen_is_answered_429_counted_and_logged_without_the_body(receiver, monkeypatch, caplog):
    async def broken(_record):
        raise RuntimeError("SECRET-IN-THE-BODY")

    monkeypatch.setattr(receiver.publisher, "publish", broken)
    answer = await receiver.send(webhook())
    assert (answer.status, answer.word) == (429, "failed")
    assert receiver.count("levelgate_deliveries_received_total", app="demo", outcome="failed") == 1
    assert "webhook_failed" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "SECRET-IN-THE-BODY" not in caplog.text


async def test_a_body_that_does_not_come_is_answered_429(receiver, monkeypatch):
    monkeypatch.setattr("ingest.webhooks._BODY_TIMEOUT_S", 0.1)
    reader, writer = await begun(receiver, encoded(webhook()))
    assert b"429" in await reader.readline()
    await closed(writer)


async def test_a_body_that_breaks_off_is_counted_and_nothing_is_stored(receiver, stored):
    _, writer = await begun(receiver, encoded(webhook()))
    await eventually(lambda: receiver.count("levelgate_receive_in_flight") == 1)
    await closed(writer)
    await eventually(lambda: receiver.count("levelgate_deliveries_received_total", app="demo", outcome="incomplete"))
    await assert_nothing_is_stored(stored)


class TestProviderRoute:
    """The conversation provider's delivery URL: no signature, a secret in the path."""

    message: ClassVar = {"type": "SMS", "locationId": LOCATION, "contactId": "c1", "messageId": "m1", "phone": "+1"}

    @pytest.fixture
    async def receiver(self, receiver_settings):
        provider = receiver_settings.apps["demo"].model_copy(
            update={"provider_secret": type(receiver_settings.secret_key)(PROVIDER_SECRET)}
        )
        plain = receiver_settings.apps["demo"]
        async with running_receiver(with_apps(receiver_settings, demo=provider, plain=plain)) as receiver:
            yield receiver

    async def test_a_message_with_the_right_secret_is_published(self, receiver, stored):
        answer = await receiver.send(self.message, path=f"/providers/demo/{PROVIDER_SECRET}", scheme="none")
        assert (answer.status, answer.word) == (200, "accepted")
        (record,) = await stored()
        assert record.headers["ce_type"] == b"highlevel.ProviderOutboundMessage"
        assert record.headers["ce_signature"] == b"none"

    @pytest.mark.parametrize("path", ["demo/wrong", "demo/%C3%BC", "demo/%FF", "plain/", "plain/x", "nobody/x"])
    async def test_a_wrong_secret_is_answered_like_an_unknown_app(self, receiver, stored, path):
        answer = await receiver.send(self.message, path=f"/providers/{path}", scheme="none")
        assert answer.status == 404
        await assert_nothing_is_stored(stored)

    async def test_a_malformed_message_is_quarantined(self, receiver):
        answer = await receiver.send(b"[", path=f"/providers/demo/{PROVIDER_SECRET}", scheme="none")
        assert (answer.status, answer.word) == (200, "quarantined")

    async def test_another_apps_message_is_answered_401(self, receiver):
        body = {**self.message, "appId": "another"}
        assert (await receiver.send(body, path=f"/providers/demo/{PROVIDER_SECRET}", scheme="none")).status == 401

    async def test_the_secret_is_in_no_log_whatever_is_sent(self, receiver, caplog):
        await receiver.send(self.message, path=f"/providers/demo/{PROVIDER_SECRET}", scheme="none")
        await receiver.send(self.message, path=f"/providers/nobody/{PROVIDER_SECRET}", scheme="none")
        for request in (
            b"POST /providers/demo/%s HTTP/9.x\r\n\r\n",
            b"POST /providers/demo/%s HTTP/1.1\r\nHost: x\r\nContent-Length: z\r\n\r\n",
            b"POST /providers/demo/%s\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /providers/demo/%s HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 10_000 + b"\r\n\r\n",
        ):
            reader, writer = await connected(receiver)
            writer.write(request % PROVIDER_SECRET.encode())
            assert b"40" in await reader.readline()
            await closed(writer)
        assert "Error handling request" in caplog.text
        assert PROVIDER_SECRET not in caplog.text


async def test_postgres_away_does_not_keep_webhooks_out(receiver_settings):
    away = receiver_settings.model_copy(
        update={"database_url": type(receiver_settings.secret_key)("postgresql://nobody@127.0.0.1:9/x")}
    )
    async with running_receiver(away) as receiver:
        assert (await receiver.send(webhook())).word == "accepted"
        assert (await receiver.get("/readyz"))[0] == 200


async def test_every_outcome_is_counted_from_the_start(receiver):
    for outcome in ("accepted", "unavailable", "failed"):
        name = "levelgate_deliveries_received_total"
        assert receiver._registry.get_sample_value(name, {"app": "demo", "outcome": outcome}) == 0  # noqa: SLF001


async def connected(receiver):
    host, _, port = receiver.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def closed(writer):
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def begun(receiver, body):
    """Send the head of a webhook and the first ten bytes of its body."""
    reader, writer = await connected(receiver)
    head = ["POST /webhooks/demo HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in signed(body).items()]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body[:10])
    await writer.drain()
    return reader, writer
