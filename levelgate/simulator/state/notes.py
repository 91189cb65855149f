"""Notes: only under their contact (facts.md, Pitfalls: they can't be listed otherwise)."""

from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

NOTE = Resource(
    kind="note",
    param="id",
    wrap="note",
    updated_field=None,
    parent=("contactId", "contactId"),
    parent_kind="contact",
    shows_tenant=None,
)


def _list(call: Call) -> Body:
    return {"notes": NOTE.children(call)}


ROUTES = (
    Route("GET", "/contacts/{contactId}/notes", _list, "contacts.readonly"),
    Route("POST", "/contacts/{contactId}/notes", NOTE.create, "contacts.write", status=201, required=("body",)),
    Route("GET", "/contacts/{contactId}/notes/{id}", NOTE.get, "contacts.readonly"),
    Route("PUT", "/contacts/{contactId}/notes/{id}", NOTE.update, "contacts.write"),
    Route("DELETE", "/contacts/{contactId}/notes/{id}", NOTE.delete, "contacts.write"),
)
