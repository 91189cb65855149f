"""What a webhook is, and whether it is believed: bytes and headers in, verdict out (design §3).

Pure: no I/O, no clock. What was signed for this app is never refused, whatever it looks like: it is an
event, an event of a type nobody knows, or it goes to quarantine under one of few reasons. Never keeps
an error that carries the body.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import msgspec
import orjson

from ingest.answers import Outcome
from levelgate.highlevel.signatures import VerifyingKeys
from schemas.catalogue import CATALOGUE, PROVIDER_MESSAGE, EventType, entity_of, lookup, tenant_of
from schemas.envelope import NO_TENANT, Envelope
from schemas.errors import ForeignApp, WrongShape
from schemas.ids import AppName, DeliveryId, TenantId
from schemas.settings import App
from schemas.topics import UNKNOWN_FAMILY, Topics
from schemas.validation import validate

_MAX_ID_CHARS = 200
_MAX_TYPE_CHARS = 200
_MAX_TIMESTAMP_CHARS = 64

UNNAMED = "unnamed"
"""The type of a quarantined delivery that has no usable name for itself."""


class Reason(StrEnum):
    """Why a delivery is in quarantine: the value of `ce_reason`."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    """JSON, but neither an object nor a list."""
    WRONG_LIST = "wrong_list"
    """A list that is not one of objects of one tenant and one type that comes in lists."""
    NO_TYPE = "no_type"
    """No usable event name, neither in the body nor in the path."""
    NO_TENANT = "no_tenant"
    STALE = "stale"
    """Older than the ledger remembers, so that nobody knows whether it was handled."""
    WRONG_SHAPE = "wrong_shape"
    """Not what its type should look like."""


class Verdict(msgspec.Struct, frozen=True):
    """A believed webhook: what to say once it is written, where it is to be written, and its metadata."""

    outcome: Literal[Outcome.ACCEPTED, Outcome.QUARANTINED]
    topic: str
    envelope: Envelope


class _Named(NamedTuple):
    """Which event a body is; without an event type the catalogue does not know it."""

    event_type: EventType | None
    name: str
    source: Literal["body", "path"]


_NAMELESS = _Named(None, UNNAMED, "body")
_PROVIDER = _Named(CATALOGUE[PROVIDER_MESSAGE], PROVIDER_MESSAGE, "path")


class Acceptance:
    """The rules for one app's webhooks."""

    def __init__(self, name: AppName, app: App, topics: Topics, *, stale_after: timedelta) -> None:
        self._name = name
        self._app_id = app.app_id
        self._keys = VerifyingKeys.from_app(app)
        self._topics = topics
        self._stale_after = stale_after

    def judge(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        now: datetime,
        event: str | None = None,
        traceparent: str | None = None,
    ) -> Verdict:
        """Judge a webhook; `event` is the name in the path. Raises BadSignature or ForeignApp, nothing else."""
        scheme = self._keys.verify(body, headers, today=now.date())
        return self._judged(body, now, signature=scheme, event=event, traceparent=traceparent)

    def judge_provider_message(self, body: bytes, *, now: datetime, traceparent: str | None = None) -> Verdict:
        """Judge what came to the conversation provider's URL, which the vendor does not sign. Raises ForeignApp."""
        return self._judged(body, now, signature="none", event=_PROVIDER, traceparent=traceparent)

    def _judged(
        self, body: bytes, now: datetime, *, signature: str, event: str | _Named | None, traceparent: str | None
    ) -> Verdict:
        parsed = _parsed(body)
        elements: list[Any] = parsed if isinstance(parsed, list) else [parsed]
        self._refuse_foreign(elements)
        first = elements[0] if elements and isinstance(elements[0], dict) else {}
        named = _named(first, event)
        tenant = tenant_of(named.event_type, first)
        reason = _fault_of_form(parsed, event, named, tenant) or self._fault_of_content(elements, named, tenant, now)
        envelope = Envelope(
            id=_identity(first, body),
            type=named.name,
            app=self._name,
            tenant=tenant or NO_TENANT,
            received_at=now,
            entity=entity_of(named.event_type, first),
            time=_printable(first.get("timestamp"), _MAX_TIMESTAMP_CHARS),
            type_source=named.source,
            signature=signature,
            traceparent=traceparent,
            reason=reason,
        )
        if reason is not None:
            return Verdict(Outcome.QUARANTINED, self._topics.quarantine, envelope)
        family = named.event_type.family if named.event_type else UNKNOWN_FAMILY
        return Verdict(Outcome.ACCEPTED, self._topics.events(family), envelope)

    def _refuse_foreign(self, elements: list[Any]) -> None:
        # The vendor's keys are the platform's: a good signature alone says nothing of whose webhook it is.
        for element in elements:
            if isinstance(element, dict) and (app_id := element.get("appId")) and app_id != self._app_id:
                raise ForeignApp

    def _fault_of_content(
        self, elements: list[dict[str, Any]], named: _Named, tenant: TenantId | None, now: datetime
    ) -> Reason | None:
        if tenant is None:
            return Reason.NO_TENANT
        if any(self._is_stale(element, now) for element in elements):
            return Reason.STALE
        if named.event_type is not None and not all(_has_shape(named.event_type, element) for element in elements):
            return Reason.WRONG_SHAPE
        return None

    def _is_stale(self, element: dict[str, Any], now: datetime) -> bool:
        timestamp = element.get("timestamp")
        if not isinstance(timestamp, str):
            return False
        try:
            at = datetime.fromisoformat(timestamp)
        except ValueError:
            return False  # its age is unknown, which is no reason to keep it from the handlers
        return now - (at if at.tzinfo else at.replace(tzinfo=UTC)) > self._stale_after


_NOT_JSON = object()


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NOT_JSON  # the error itself is dropped here: its `doc` is the whole body


def _named(body: dict[str, Any], event: str | _Named | None) -> _Named:
    """Decide which event it is: the body's name, but the path's where the vendor's bodies have none or a sibling's.

    Source: facts.md, Webhooks: for 25 documented events the body does not say reliably which it is.
    """
    if isinstance(event, _Named):
        return event
    name, path = _printable(body.get("type"), _MAX_TYPE_CHARS), _printable(event, _MAX_TYPE_CHARS)
    in_body = lookup(name) if name else None
    in_path = lookup(path) if path else None
    if in_path is not None and (in_body is None or (in_body is not in_path and in_body.family == in_path.family)):
        return _Named(in_path, in_path.wire, "path")
    if in_body is not None:
        return _Named(in_body, in_body.wire, "body")
    if name:
        return _Named(None, name, "body")
    return _Named(None, path, "path") if path else _NAMELESS


def _fault_of_form(parsed: object, event: str | _Named | None, named: _Named, tenant: TenantId | None) -> Reason | None:
    if parsed is _NOT_JSON:
        return Reason.NOT_JSON
    if isinstance(parsed, list):
        return None if _is_one_delivery(parsed, event, named, tenant) else Reason.WRONG_LIST
    if not isinstance(parsed, dict):
        return Reason.NOT_AN_OBJECT
    return Reason.NO_TYPE if named is _NAMELESS else None


def _is_one_delivery(elements: list[Any], event: str | _Named | None, named: _Named, tenant: TenantId | None) -> bool:
    if named.event_type is None or not named.event_type.list_body:
        return False
    return all(
        isinstance(element, dict) and _named(element, event) == named and tenant_of(named.event_type, element) == tenant
        for element in elements
    )


def _has_shape(event_type: EventType, element: dict[str, Any]) -> bool:
    try:
        validate(event_type, element)
    except WrongShape:
        return False
    return True


def _identity(first: dict[str, Any], body: bytes) -> DeliveryId:
    return DeliveryId(_printable(first.get("webhookId"), _MAX_ID_CHARS) or f"sha256:{hashlib.sha256(body).hexdigest()}")


def _printable(value: object, max_chars: int) -> str | None:
    # Control characters could forge lines where ids are shown, and Postgres takes no NUL in a text.
    usable = isinstance(value, str) and 0 < len(value) <= max_chars and value.isprintable() and not value.isspace()
    return str(value) if usable else None
