"""Bodies made to hurt: each gets its answer in bounded time, and the process lives on."""

import asyncio
import contextlib
import json

import pytest

from tests.support.webhooks import encoded, signed, webhook

pytest_plugins = ["tests.fixtures.receiver"]

ANSWERED_WITHIN_S = 3


def nested(depth, opening=b'{"a":', closing=b"}"):
    return opening * depth + b"1" + closing * depth


def with_field(name, raw):
    """A good webhook without an id of its own, so that no two are duplicates, plus one field."""
    return encoded(webhook(marker=0, webhookId=...)).replace(b'"marker": 0', b'"%s": %s' % (name, raw))


HOSTILE = {
    "deep objects": (nested(100_000), "quarantined"),
    "deep lists": (nested(400_000, b"[", b"]"), "quarantined"),
    "deep within an event": (with_field(b"x", nested(2_000)), "quarantined"),
    "just within the parser's depth": (with_field(b"x", nested(1_000)), "accepted"),
    "deep where a list of texts should be": (with_field(b"tags", nested(900, b"[", b"]")), "either"),
    "never closed": (b"[" * 1_000_000, "quarantined"),
    "NaN": (with_field(b"x", b"NaN"), "quarantined"),
    "Infinity": (with_field(b"x", b"-Infinity"), "quarantined"),
    "invalid UTF-8": (with_field(b"x", b'"\xff\xfe"'), "quarantined"),
    "a lone surrogate": (with_field(b"x", b'"\\ud800"'), "quarantined"),
    "UTF-16": (json.dumps(webhook()).encode("utf-16"), "quarantined"),
    "a byte order mark": (b"\xef\xbb\xbf" + encoded(webhook()), "quarantined"),
    "a million digits": (with_field(b"x", b"9" * 1_000_000), "either"),
    "a monstrous exponent": (with_field(b"x", b"1e999999999"), "either"),
    "100,000 keys": (encoded(webhook(webhookId=..., **{f"k{n}": 1 for n in range(100_000)}))[: 1024 * 1024], "either"),
    "a repeated key": (with_field(b"locationId", b'"another"'), "accepted"),
    "nothing": (b"", "quarantined"),
    "blanks": (b" " * 1_000_000, "quarantined"),
    "zeros": (b"\x00" * 1_000_000, "quarantined"),
    "an empty list": (b"[]", "quarantined"),
    "a list of lists": (b"[[],[]]", "quarantined"),
    "a list of numbers": (json.dumps(list(range(100_000))).encode(), "quarantined"),
    "a list of nulls": (b"[null,null]", "quarantined"),
    "a list of events that come alone": (encoded([webhook(webhookId=...), webhook()]), "quarantined"),
    "a list of many objects": (b"[" + b"{}," * 300_000 + b"{}]", "quarantined"),
    "a list of an event and more": (
        encoded([webhook("SaasPlanCreate", webhookId=...), 1, None, "x", []]),
        "quarantined",
    ),
    "a number": (b"5", "quarantined"),
    "a text": (b'"ContactCreate"', "quarantined"),
    "null": (b"null", "quarantined"),
    "a type with a newline": (encoded(webhook("ContactCreate\r\nce_app: other", webhookId=...)), "quarantined"),
    "a type with an escape": (encoded(webhook("\x1b[2J", webhookId=...)), "quarantined"),
    "a type of 900,000 characters": (encoded(webhook("x" * 900_000, webhookId=...)), "quarantined"),
    "a type that is an object": (encoded(webhook({"$ne": None}, webhookId=...)), "quarantined"),
    "a tenant with a newline": (encoded(webhook(locationId="a\nb", webhookId=...)), "quarantined"),
    "a tenant with a zero": (encoded(webhook(locationId="a\x00b", webhookId=...)), "quarantined"),
    "ids of 300,000 characters": (
        encoded(webhook("Invented", id="x" * 300_000, webhookId="y" * 300_000, timestamp="z" * 300_000)),
        "accepted",
    ),
}


async def test_each_hostile_body_is_answered_in_time_and_kept(receiver, stored):
    bodies: dict[str, bytes] = {}
    for name, (body, expected) in HOSTILE.items():
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            answer = await receiver.send(body)
        assert answer.status == 200, (name, answer)
        assert expected in {answer.word, "either"}, (name, answer)
        assert "\n" not in answer.id, name
        bodies.setdefault(answer.id, body)
        assert (await receiver.send(webhook(webhookId=f"after {name}"))).word == "accepted", name
    kept = {record.id: record.value for record in await stored()}
    assert {delivery: kept[delivery] for delivery in bodies} == bodies


async def test_the_headers_of_hostile_bodies_stay_small(receiver, stored):
    for body, _ in HOSTILE.values():
        await receiver.send(body)
    for record in await stored():
        assert sum(len(name) + len(value) for name, value in record.headers.items()) < 2048
        assert all(value.decode().isprintable() for value in record.headers.values())
        assert record.envelope.app == "demo"


@pytest.mark.parametrize("body", [b"{" * 1_000_000, b"\xff" * 1_000_000, b"[" * 500_000 + b"]" * 500_000])
async def test_what_is_not_signed_is_refused_without_being_parsed(receiver, body):
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        assert (await receiver.send(body, scheme="none")).status == 401


async def test_the_signature_of_another_body_is_refused(receiver):
    stolen = signed(encoded(webhook(webhookId="w1")))["X-GHL-Signature"]
    answer = await receiver.send(webhook(webhookId="w2"), scheme="none", **{"X-GHL-Signature": stolen})
    assert answer.status == 401


@pytest.mark.parametrize("signature", ["N/A", "", " ", "=", "A" * 88, "!" * 88, "A" * 7000, "AAAA,AAAA"])
async def test_a_signature_that_is_none_is_refused(receiver, signature):
    assert (await receiver.send(webhook(), scheme="none", **{"X-GHL-Signature": signature})).status == 401


async def test_two_megabytes_are_refused(receiver):
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        answer = await receiver.send(b'{"a": "' + b"x" * 2_000_000 + b'"}')
    assert answer.status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/demo/Contact%0ACreate",
        "/webhooks/demo/%00",
        "/webhooks/demo/" + "x" * 4000,
        "/webhooks/demo/%FF%FE",
        "/webhooks/demo/..%2F..%2Fetc",
    ],
)
async def test_a_hostile_event_name_in_the_path_is_only_a_name(receiver, stored, path):
    answer = await receiver.send(webhook(...), path=path)
    assert answer.status == 200
    (record,) = await stored()
    assert record.headers["ce_type"].decode().isprintable()
    assert len(record.headers["ce_type"]) < 250


async def test_many_slow_and_broken_senders_do_not_stop_the_others(receiver):
    host, _, port = receiver.url.removeprefix("http://").partition(":")
    writers = []
    for number in range(100):
        _, writer = await asyncio.open_connection(host, int(port))
        head = (
            b"POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        writer.write(head if number % 2 else head[: number + 5])
        writers.append(writer)
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        assert (await receiver.send(webhook())).word == "accepted"
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
