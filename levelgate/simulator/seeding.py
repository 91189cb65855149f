"""Makes exist what the documented sample events tell of, so that each can be read again through the API.

Idempotent: what is there stays as it is. Bodies are the samples', under the names that the API uses.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from levelgate.simulator.consent import DEMO_COMPANY
from levelgate.simulator.state.messages import kind_of
from levelgate.simulator.store import Body, Store
from schemas.catalogue import CATALOGUE, tenant_of
from schemas.samples import Sample

_ENVELOPE = frozenset({"type", "appId", "webhookId", "timestamp", "versionId"})
_ID_LENGTH = 20


def seed_locations(store: Store, samples: Iterable[Sample]) -> None:
    """Make the demo agency and one location for each tenant of the samples."""
    ensure_company(store, DEMO_COMPANY)
    for sample in samples:
        body = sample.body[0] if isinstance(sample.body, list) else sample.body
        tenant = tenant_of(CATALOGUE[sample.type], body)
        if tenant is not None and tenant != DEMO_COMPANY:
            ensure_location(store, tenant, DEMO_COMPANY)


def seed_entities(store: Store, samples: Sequence[Sample]) -> None:
    """Make all that the samples tell of."""
    seed_locations(store, samples)
    for sample in samples:
        make = _MAKERS.get(CATALOGUE[sample.type].family)
        if make is None or isinstance(sample.body, list):
            continue
        tenant = tenant_of(CATALOGUE[sample.type], sample.body)
        if tenant is not None:
            make(store, tenant, sample)


def ensure_company(store: Store, company: str) -> None:
    """Make an agency, unless it is there."""
    if store.get("company", company) is None:
        store.put("company", company, company, {"id": company, "name": "Harbour Lane Agency"})


def ensure_location(store: Store, location: str, company: str) -> bool:
    """Make a location of an agency, unless it is there; return whether it was made."""
    ensure_company(store, company)
    fields = {"name": f"Location {location}", "address": "1 Harbour Lane", "city": "Dover", "country": "US"}
    body = {"id": location, "companyId": company, **fields, "timezone": "US/Eastern"}
    return _keep(store, "location", location, location, body)


def ensure_contact(store: Store, tenant: str, contact_id: str, fields: Body) -> bool:
    """Make a contact, unless it is there; return whether it was made."""
    body = {"id": contact_id, "locationId": tenant, "type": "lead", "tags": [], "customFields": [], "dnd": False}
    body |= {"dateAdded": "2021-11-26T12:41:02.193Z", "dateUpdated": "2021-11-26T12:41:02.193Z"}
    return _keep(store, "contact", contact_id, tenant, body | fields)


def sample_message_id(body: Body) -> str:
    """Return the id of a sample's message; the SMS samples have none, so one is derived from what they say."""
    named = body.get("messageId") or body.get("emailMessageId")
    if isinstance(named, str):
        return named
    told = f"{body.get('conversationId')} {body.get('dateAdded')}"
    return hashlib.sha256(told.encode()).hexdigest()[:_ID_LENGTH]


def _contact(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample)
    if not ensure_contact(store, tenant, fields["id"], fields):
        # The samples of one contact differ: ContactDndUpdate alone has its dndSettings.
        known = store.get("contact", fields["id"])
        if known is not None and set(fields) - set(known.body):
            store.put("contact", fields["id"], tenant, fields | known.body)


def _note(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample, without=("locationId",))
    ensure_contact(store, tenant, fields["contactId"], {})
    _keep(store, "note", fields["id"], tenant, fields)


def _task(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample, without=("locationId",))
    ensure_contact(store, tenant, fields["contactId"], {})
    _keep(store, "task", fields["id"], tenant, {**fields, "completed": sample.type == "TaskComplete"})


def _opportunity(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample)
    fields["createdAt"] = fields["updatedAt"] = fields.pop("dateAdded")
    ensure_contact(store, tenant, fields["contactId"], {})
    _keep(store, "opportunity", fields["id"], tenant, fields)


def _appointment(store: Store, tenant: str, sample: Sample) -> None:
    fields = {**_fields(sample)["appointment"], "locationId": tenant}
    ensure_contact(store, tenant, fields["contactId"], {})
    _keep(store, "appointment", fields["id"], tenant, fields)


def _location(store: Store, tenant: str, sample: Sample) -> None:
    # LocationCreate's company is a placeholder: the demo agency owns all.
    fields = _fields(sample, without=("companyId",))
    known = store.get("location", tenant)
    if known is not None and set(fields) - set(known.body):
        store.put("location", tenant, tenant, known.body | fields)


def _user(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample, without=("locationId", "companyId", "role"))
    name = f"{fields.get('firstName')} {fields.get('lastName')}"
    roles = {"type": "account", "role": "user", "locationIds": [tenant]}
    _keep(store, "user", fields["id"], tenant, {**fields, "name": name, "roles": roles})


def _conversation(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample)
    # A merge (ConversationUpdate) leaves the new conversation; the old one is gone.
    conversation_id = fields.get("newConversationId") or fields["id"]
    kept: Body = {name: fields[name] for name in ("deleted", "inbox", "starred", "unreadCount") if name in fields}
    _ensure_conversation(store, tenant, conversation_id, fields["contactId"], kept)


def _message(store: Store, tenant: str, sample: Sample) -> None:
    fields = _fields(sample)
    message_id = sample_message_id(fields)
    conversation_id = fields.get("conversationId") or f"CONV{message_id}"[:_ID_LENGTH]
    _ensure_conversation(store, tenant, conversation_id, fields["contactId"], {})
    channel = fields.get("messageType") or ("SMS" if sample.provider else "")
    meta = {name: fields[name] for name in ("callDuration", "callStatus") if name in fields}
    shown: Body = {
        "id": message_id,
        **kind_of(channel),
        "locationId": tenant,
        "contactId": fields["contactId"],
        "conversationId": conversation_id,
        "dateAdded": fields.get("dateAdded", "2024-05-08T12:00:00.000Z"),
        "body": fields.get("body") or fields.get("message") or "",
        "direction": fields.get("direction", "outbound"),
        "status": fields.get("status", "pending"),
        "contentType": fields.get("contentType", "text/plain"),
        "attachments": fields.get("attachments", []),
        **({"meta": meta} if meta else {}),
        **{name: fields[name] for name in ("source", "userId", "conversationProviderId") if name in fields},
    }
    _keep(store, "message", message_id, tenant, shown)


def _shop(kind: str) -> Callable[[Store, str, Sample], None]:
    def make(store: Store, tenant: str, sample: Sample) -> None:
        fields = _fields(sample)
        if kind in {"order", "invoice"}:
            fields |= {"altId": tenant, "altType": "location"}
        if kind == "order":
            ensure_contact(store, tenant, fields["contactId"], {})
        if kind == "price":
            fields["type"] = fields.pop("priceType", "one_time")
            _keep(store, "product", fields["product"], tenant, {"_id": fields["product"], "locationId": tenant})
        _keep(store, kind, fields["_id"], tenant, fields)

    return make


def _ensure_conversation(store: Store, tenant: str, conversation_id: str, contact_id: str, fields: Body) -> None:
    ensure_contact(store, tenant, contact_id, {})
    body: Body = {"id": conversation_id, "locationId": tenant, "contactId": contact_id, "type": 1}
    body |= {"deleted": False, "inbox": True, "starred": False, "unreadCount": 0}
    body["lastMessageDate"] = "2024-05-08T12:00:00.000Z"
    _keep(store, "conversation", conversation_id, tenant, body | fields)


def _fields(sample: Sample, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    if isinstance(sample.body, list):
        raise TypeError(f"{sample.name} is a list")
    return {name: value for name, value in sample.body.items() if name not in {*_ENVELOPE, *without}}


def _keep(store: Store, kind: str, entity_id: str, tenant: str, body: Body) -> bool:
    if store.get(kind, entity_id) is not None:
        return False
    store.put(kind, entity_id, tenant, body)
    return True


_MAKERS: dict[str, Callable[[Store, str, Sample], None]] = {
    "contact": _contact,
    "note": _note,
    "task": _task,
    "opportunity": _opportunity,
    "appointment": _appointment,
    "location": _location,
    "user": _user,
    "conversation": _conversation,
    "message": _message,
    "order": _shop("order"),
    "invoice": _shop("invoice"),
    "product": _shop("product"),
    "price": _shop("price"),
}
