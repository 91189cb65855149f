"""Contacts: `/contacts/…`, with both searches, tags and upsert."""

from collections.abc import Mapping
from typing import Any

from levelgate.simulator import refusals
from levelgate.simulator.clock import milliseconds
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "contacts.readonly"
_WRITE = "contacts.write"

CONTACT = Resource(
    kind="contact",
    param="contactId",
    wrap="contact",
    defaults={"type": "lead", "tags": [], "customFields": [], "dnd": False},
)


def _position(contact: Body) -> paging.Position:
    return milliseconds(contact.get("dateAdded")), contact["id"]


def _matching(contacts: list[Body], query: object) -> list[Body]:
    if not query:
        return contacts
    text = str(query).lower()
    fields = ("firstName", "lastName", "name", "email", "phone")
    return [contact for contact in contacts if any(text in str(contact.get(field) or "").lower() for field in fields)]


def _list(call: Call) -> Body:
    size = paging.number(call.query, "limit", 20, least=1, most=paging.MAX_LIMIT)
    contacts = paging.newest_first(_matching(call.listed("contact"), call.query.get("query")), _position)
    cursor = None
    if call.query.get("startAfterId"):
        cursor = paging.number(call.query, "startAfter", 0), call.query["startAfterId"]
    shown = paging.after(contacts, _position, cursor)[:size]
    meta: dict[str, Any] = {"total": len(contacts)}
    if shown:
        meta["startAfter"], meta["startAfterId"] = _position(shown[-1])
    return {"contacts": shown, "count": len(contacts), "meta": meta}


def _search(call: Call) -> Body:
    # The document has no body; it needs locationId and pageLimit (issue 31).
    size = paging.number(call.body, "pageLimit", 20, least=1, most=500)
    contacts = paging.newest_first(_matching(call.listed("contact"), call.body.get("query")), _position)
    after = call.body.get("searchAfter")
    shown = (
        paging.after(contacts, _position, _cursor(after))[:size] if after else paging.page(contacts, call.body, size)
    )
    return {
        "contacts": [{**contact, "searchAfter": list(_position(contact))} for contact in shown],
        "total": len(contacts),
    }


def _cursor(search_after: object) -> paging.Position:
    match search_after:
        case [int(at), str(contact_id)]:
            return at, contact_id
        case _:
            raise refusals.malformed(["searchAfter must be the searchAfter of the last contact"])


def _upsert(call: Call) -> Body:
    same = _duplicate(call.listed("contact"), call.body)
    if same is None:
        return {"new": True, "contact": CONTACT.add(call, call.body)}
    return {"new": False, "contact": CONTACT.change(call, same["id"], {**same, **call.body})}


def _find_duplicate(call: Call) -> Body:
    wanted = {"email": call.query.get("email"), "phone": call.query.get("number")}
    return {"contact": _duplicate(call.listed("contact"), wanted)}


def _duplicate(contacts: list[Body], wanted: Mapping[str, Any]) -> Body | None:
    for contact in contacts:
        for field in ("email", "phone"):
            if wanted.get(field) and str(contact.get(field) or "").lower() == str(wanted[field]).lower():
                return contact
    return None


def _create(call: Call) -> Body:
    if _duplicate(call.listed("contact"), call.body) is not None:
        raise refusals.Refusal(400, "This location does not allow duplicated contacts.")
    return CONTACT.create(call)


def _update(call: Call) -> Body:
    return {"succeded": True, **CONTACT.update(call)}


def _add_tags(call: Call) -> Body:
    contact_id, contact = CONTACT.found(call)
    added = [tag for tag in _tags(call) if tag not in contact.get("tags", [])]
    changed = CONTACT.change(call, contact_id, {**contact, "tags": [*contact.get("tags", []), *added]})
    return {"tags": changed["tags"], "tagsAdded": added}


def _remove_tags(call: Call) -> Body:
    contact_id, contact = CONTACT.found(call)
    removed = _tags(call)
    left = [tag for tag in contact.get("tags", []) if tag not in removed]
    return {"tags": CONTACT.change(call, contact_id, {**contact, "tags": left})["tags"], "tagsRemoved": removed}


def _tags(call: Call) -> list[str]:
    match call.body.get("tags"):
        case [*tags] if all(isinstance(tag, str) for tag in tags):
            return list(tags)
        case _:
            raise refusals.malformed(["tags must be an array of strings"])


def _of_business(call: Call) -> Body:
    wanted = call.params["businessId"]
    contacts = [contact for contact in call.listed("contact") if contact.get("businessId") == wanted]
    return {
        "contacts": paging.window(contacts, call.query, start="skip", limit=25),
        "count": len(contacts),
    }


ROUTES = (
    Route("GET", "/contacts/", _list, _READ, required=("locationId",)),
    Route("POST", "/contacts/", _create, _WRITE, status=201, required=("locationId",)),
    Route("POST", "/contacts/search", _search, _READ, required=("locationId", "pageLimit")),
    Route("GET", "/contacts/search/duplicate", _find_duplicate, _READ, required=("locationId",)),
    Route("POST", "/contacts/upsert", _upsert, _WRITE, required=("locationId",)),
    Route("GET", "/contacts/business/{businessId}", _of_business, _READ, required=("locationId",)),
    Route("GET", "/contacts/{contactId}", CONTACT.get, _READ),
    Route("PUT", "/contacts/{contactId}", _update, _WRITE),
    Route("DELETE", "/contacts/{contactId}", CONTACT.delete, _WRITE),
    Route("POST", "/contacts/{contactId}/tags", _add_tags, _WRITE, status=201, required=("tags",)),
    Route("DELETE", "/contacts/{contactId}/tags", _remove_tags, _WRITE),
)
