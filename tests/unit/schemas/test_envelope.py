import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import MAX_ID_LENGTH, MAX_TEXT_LENGTH, Envelope, from_headers, to_headers
from schemas.errors import BrokenEnvelope
from schemas.topics import HEADERS_ALLOWANCE_BYTES

RECEIVED_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

storable = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
texts = st.text(storable, max_size=MAX_TEXT_LENGTH)
ids = st.text(storable, max_size=MAX_ID_LENGTH)
names = st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=MAX_ID_LENGTH)
any_text = st.text(st.characters(exclude_categories=[]), max_size=200)


def envelope(**changes):
    fields: dict[str, Any] = {
        "id": "d1",
        "type": "ContactCreate",
        "app": "demo",
        "tenant": "loc1",
        "received_at": RECEIVED,
    }
    return Envelope(**(fields | changes))


def headers(**changes):
    fields = dict(to_headers(envelope())) | changes
    return [(name, value) for name, value in fields.items() if value is not ...]


@given(
    st.builds(
        Envelope,
        id=ids,
        type=texts,
        app=names,
        tenant=ids.filter(bool),
        received_at=st.integers(min_value=-60_000_000_000_000_000, max_value=250_000_000_000_000_000).map(
            lambda microseconds: RECEIVED_FIRST + timedelta(microseconds=microseconds)
        ),
        entity=st.none() | ids,
        time=st.none() | texts,
        type_source=st.sampled_from(["body", "path"]),
        signature=texts,
        traceparent=st.none() | texts,
        replay_id=st.none() | names,
        replay_handlers=st.lists(texts).map(tuple),
        replay_element=st.none() | st.integers(min_value=0, max_value=10**8),
        reason=st.none() | texts,
    )
)
def test_an_envelope_comes_back_as_it_went(sent):
    assert from_headers(to_headers(sent)) == sent


@pytest.mark.parametrize(
    "type_", ["Contact\nce_id: other", "a\r\nce_tenant: x", "\u2028", "highlevel.highlevel.X", "", "ä/é?#%2F"]
)
def test_no_type_can_add_or_change_a_header(type_):
    sent = envelope(type=type_)
    assert [name for name, _ in to_headers(sent)] == [name for name, _ in to_headers(envelope())]
    assert from_headers(to_headers(sent)) == sent


@pytest.mark.parametrize("tenant", ["a/b", "a%2Fb", "../..", "a b", "ä", "?x=1#y"])
def test_a_tenant_of_any_characters_is_one_segment_of_the_source(tenant):
    sent = envelope(tenant=tenant)
    assert sent.source.count("/") == 4
    assert from_headers(to_headers(sent)).tenant == tenant


@given(any_text, any_text)
def test_what_is_no_text_is_replaced_so_that_it_can_be_stored(first, second):
    sent = envelope(type=first, traceparent=second, entity=first, tenant=("t" + second)[:MAX_ID_LENGTH])
    read = from_headers(to_headers(sent))
    for text in (read.type, read.traceparent, read.entity, read.tenant):
        assert text is not None
        assert "\x00" not in text
        text.encode()
    assert from_headers(to_headers(read)) == read
    assert sent.key.decode() == read.tenant


def test_no_text_makes_the_headers_too_large():
    wide = "\U0001f600" * 100_000
    sent = envelope(
        id=wide[:200], type=wide, tenant=wide[:200], entity=wide[:200], time=wide, traceparent=wide, reason="stale"
    )
    assert sum(len(name) + len(value) for name, value in to_headers(sent)) < HEADERS_ALLOWANCE_BYTES
    assert from_headers(to_headers(sent)).type == wide[:MAX_TEXT_LENGTH]


def test_the_headers_are_those_of_cloudevents():
    sent = envelope(
        entity="c1",
        time="2026-11-23T11:59:59.000Z",
        type_source="path",
        signature="rsa",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        replay_id="r1",
        replay_handlers=("greet", "my_app.notify"),
        replay_element=2,
        reason="stale",
    )
    assert dict(to_headers(sent)) == {
        "ce_specversion": b"1.0",
        "ce_id": b"d1",
        "ce_type": b"highlevel.ContactCreate",
        "ce_source": b"/apps/demo/tenants/loc1",
        "ce_app": b"demo",
        "ce_receivedtime": b"2026-11-23T12:00:00.123456+00:00",
        "ce_typesource": b"path",
        "ce_signature": b"rsa",
        "ce_time": b"2026-11-23T11:59:59.000Z",
        "ce_subject": b"c1",
        "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ce_replayid": b"r1",
        "ce_replayhandlers": b'["greet","my_app.notify"]',
        "ce_replayelement": b"2",
        "ce_reason": b"stale",
        "content-type": b"application/json",
    }


def test_times_of_other_zones_are_written_and_read_in_utc():
    sent = envelope(received_at=RECEIVED.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert dict(to_headers(sent))["ce_receivedtime"] == b"2026-11-23T12:00:00.123456+00:00"
    read = from_headers(headers(ce_receivedtime=b"2026-11-23T17:30:00.123456+05:30"))
    assert read.received_at == RECEIVED
    assert read.received_at.tzinfo is UTC


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_source", "ce_app", "ce_receivedtime"])
@pytest.mark.parametrize("value", [..., None], ids=["missing", "null"])
def test_a_record_without_a_needed_header_is_no_delivery(name, value):
    with pytest.raises(BrokenEnvelope, match=f"the header {name} is missing"):
        from_headers(headers(**{name: value}))


@pytest.mark.parametrize(
    "time", [b"", b"yesterday", b"2026-11-23T12:00:00", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-01:00"]
)
def test_a_time_that_is_none_is_a_broken_envelope(time):
    with pytest.raises(BrokenEnvelope, match="ce_receivedtime"):
        from_headers(headers(ce_receivedtime=time))


def test_a_header_that_is_no_text_is_a_broken_envelope_that_names_it():
    with pytest.raises(BrokenEnvelope, match="ce_type"):
        from_headers(headers(ce_type=b"\xff"))


@pytest.mark.parametrize(
    "changed",
    [
        {"ce_replayhandlers": b"greet"},
        {"ce_replayhandlers": b"[1]"},
        {"ce_replayelement": b"-1"},
        {"ce_replayelement": b"9" * 5000},
    ],
    ids=str,
)
def test_a_replay_for_nobody_knows_whom_is_a_broken_envelope(changed):
    ((name, _),) = changed.items()
    with pytest.raises(BrokenEnvelope, match=name):
        from_headers(headers(**changed))


@pytest.mark.parametrize("source", [b"", b"/apps/demo/tenants/"])
def test_a_source_without_a_tenant_is_a_broken_envelope(source):
    with pytest.raises(BrokenEnvelope, match="tenant"):
        from_headers(headers(ce_source=source))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_source", b"/apps/demo/tenants/%00"),
        ("ce_source", b"/apps/demo/tenants/" + b"x" * 201),
        ("ce_subject", b"a\x00b"),
        ("ce_subject", "\U0001f600".encode() * 201),
        ("ce_id", b"x" * 201),
        ("ce_type", b"highlevel." + b"x" * 251),
        ("ce_app", b"x" * 201),
        ("ce_replayid", b"x" * 201),
    ],
    ids=[
        "NUL",
        "a long tenant",
        "NUL in an entity",
        "a long entity",
        "a long id",
        "a long type",
        "a long app",
        "a long run",
    ],
)
def test_what_no_table_of_ours_could_hold_is_a_broken_envelope_that_names_it(name, value):
    with pytest.raises(BrokenEnvelope, match=name):
        from_headers(headers(**{name: value}))


def test_headers_of_others_are_passed_over():
    assert from_headers([*headers(), ("x-trace", b"\xff\xfe"), ("x-none", None)]) == envelope()


@given(st.lists(st.tuples(st.sampled_from(["ce_id", "ce_source", "ce_receivedtime", "ce_type"]), st.binary())))
def test_any_headers_make_an_envelope_or_a_broken_one(strange):
    # Whatever else were raised would stop the consumer.
    with contextlib.suppress(BrokenEnvelope):
        from_headers([*headers(), *strange])
