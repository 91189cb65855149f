"""A delivery's metadata, to and from a Kafka record's headers (CloudEvents 1.0, Kafka binary mode).

Pure. The record's value is the body as received, byte for byte; its key is the tenant.
No text breaks the way, nor makes the headers larger than `schemas.topics` allows for.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from schemas.errors import BrokenEnvelope
from schemas.ids import AppName, DeliveryId, EntityId, TenantId

Headers = list[tuple[str, bytes]]

TYPE_PREFIX = "highlevel."

MAX_TEXT_LENGTH = 250
"""Of what the vendor wrote at will (type, timestamp): longer texts are cut in the headers, the body has them whole."""

MAX_ID_LENGTH = 200
"""Of what tells deliveries, tenants and entities apart; the receiver takes no longer ones. An index row in Postgres has
2,704 bytes for several of them, at worst of four bytes a character."""

NO_TENANT = TenantId("-")
"""Stands for the tenant of a quarantined delivery that names none; no vendor id is this short."""

REPLAY_HEADERS = frozenset({"ce_replayid", "ce_replayhandlers", "ce_replayelement"})
"""What a replay adds to a delivery's own headers."""

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")

_MAX_DIGITS = 10

_MAX_NAME_BYTES = 200

_REQUIRED = {"ce_id", "ce_type", "ce_source", "ce_app", "ce_receivedtime"}
_OPTIONAL = {"ce_subject", "ce_time", "ce_typesource", "ce_signature", "traceparent", "ce_reason"} | REPLAY_HEADERS
_READ = _REQUIRED | _OPTIONAL


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a delivery besides its body. Times are aware, in UTC."""

    id: DeliveryId
    type: str
    """The catalogue's wire type, or for the unknown family what the vendor called it."""
    app: AppName
    tenant: TenantId
    received_at: datetime
    entity: EntityId | None = None
    time: str | None = None
    """The vendor's `timestamp`, as it came."""
    type_source: Literal["body", "path"] = "body"
    signature: str = "ed25519"
    """Scheme that confirmed it: `ed25519`, `rsa`, or `none` on the provider route."""
    traceparent: str | None = None
    replay_id: str | None = None
    replay_handlers: tuple[str, ...] = ()
    """The handlers that a replay is for; none: all of the type."""
    replay_element: int | None = None
    """The element of a list body that a replay is for; None: all."""
    reason: str | None = None
    """Why it is in quarantine."""

    @property
    def source(self) -> str:
        """`ce_source`."""
        return f"/apps/{_quoted(self.app)}/tenants/{_quoted(self.tenant)}"

    @property
    def key(self) -> bytes:
        """The record's key: the tenant, so that one partition holds all of a tenant (design §9.7)."""
        return _encoded(self.tenant)


def to_headers(envelope: Envelope) -> Headers:
    """Return the record headers that carry `envelope`."""
    fields = {
        "ce_specversion": "1.0",
        "ce_id": envelope.id,
        "ce_type": TYPE_PREFIX + envelope.type[:MAX_TEXT_LENGTH],
        "ce_source": envelope.source,
        "ce_app": envelope.app,
        "ce_receivedtime": envelope.received_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "ce_typesource": envelope.type_source,
        "ce_signature": envelope.signature,
        "ce_time": envelope.time and envelope.time[:MAX_TEXT_LENGTH],
        "ce_subject": envelope.entity,
        "traceparent": envelope.traceparent and envelope.traceparent[:MAX_TEXT_LENGTH],
        "ce_replayid": envelope.replay_id,
        "ce_replayhandlers": msgspec.json.encode(envelope.replay_handlers).decode()
        if envelope.replay_handlers
        else None,
        "ce_replayelement": None if envelope.replay_element is None else str(envelope.replay_element),
        "ce_reason": envelope.reason,
        "content-type": "application/json",
    }
    return [(name, _encoded(value)) for name, value in fields.items() if value is not None]


def from_headers(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """Read an envelope back; headers that are not ours are passed over, whatever is in them.

    Raises BrokenEnvelope naming the header at fault: also one that no table of ours could hold.
    """
    fields = {name: _decoded(name, value) for name, value in headers if name in _READ and value is not None}
    try:
        return Envelope(
            id=DeliveryId(_short("ce_id", fields["ce_id"])),
            type=_short("ce_type", fields["ce_type"].removeprefix(TYPE_PREFIX), MAX_TEXT_LENGTH),
            app=AppName(_name("ce_app", fields["ce_app"])),
            tenant=_tenant(fields["ce_source"]),
            received_at=_time(fields["ce_receivedtime"]),
            entity=EntityId(_short("ce_subject", fields["ce_subject"])) if "ce_subject" in fields else None,
            time=fields.get("ce_time"),
            type_source="path" if fields.get("ce_typesource") == "path" else "body",
            signature=fields.get("ce_signature", "none"),
            traceparent=fields.get("traceparent"),
            replay_id=_name("ce_replayid", fields["ce_replayid"]) if "ce_replayid" in fields else None,
            replay_handlers=_names(fields.get("ce_replayhandlers")),
            replay_element=_element(fields.get("ce_replayelement")),
            reason=fields.get("ce_reason"),
        )
    except KeyError as missing:
        raise BrokenEnvelope(f"the header {missing.args[0]} is missing") from None


def _tenant(source: str) -> TenantId:
    tenant = unquote(source.rpartition("/")[2])
    if not tenant:
        raise BrokenEnvelope("ce_source names no tenant")
    return TenantId(_short("ce_source", _text("ce_source", tenant)))


def _short(name: str, text: str, most: int = MAX_ID_LENGTH) -> str:
    if len(text) > most:
        raise BrokenEnvelope(f"the header {name} is too long")
    return text


def _name(name: str, text: str) -> str:
    # Ours, in ASCII: of others' characters it takes fewer.
    if len(text.encode()) > _MAX_NAME_BYTES:
        raise BrokenEnvelope(f"the header {name} is too long")
    return text


def _text(name: str, text: str) -> str:
    if "\x00" in text:
        raise BrokenEnvelope(f"the header {name} has NUL, which Postgres can't store")
    return text


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError:
        raise BrokenEnvelope("ce_replayhandlers is no list of names") from None


def _element(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS):
        raise BrokenEnvelope("ce_replayelement is no number")
    return int(text)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BrokenEnvelope("ce_receivedtime is not a time") from None
    raise BrokenEnvelope("ce_receivedtime has no time zone")


def _encoded(text: str) -> bytes:
    return _storable(text).encode()


def _quoted(text: str) -> str:
    return quote(_storable(text), safe="")


def _storable(text: str) -> str:
    # Neither UTF-8 nor Postgres has lone surrogates (a request's headers may hold them), and Postgres no NUL.
    return text if text.isascii() and "\x00" not in text else _NOT_TEXT.sub("\ufffd", text)


def _decoded(name: str, value: bytes) -> str:
    try:
        return _text(name, value.decode())
    except UnicodeDecodeError:
        raise BrokenEnvelope(f"the header {name} is not UTF-8") from None
