"""Invoices: `/invoices/…`, named by altId and altType."""

from levelgate.simulator.names import new_object_id
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "invoices.readonly"
_WRITE = "invoices.write"
_ALT = ("altId", "altType")

INVOICE = Resource(
    kind="invoice",
    param="invoiceId",
    id_field="_id",
    new_id=new_object_id,
    created_field="createdAt",
    updated_field="updatedAt",
    shows_tenant="altId",
    defaults={"status": "draft", "altType": "location", "liveMode": False, "amountPaid": 0},
)


def _create(call: Call) -> Body:
    fields = dict(call.body)
    fields["invoiceItems"] = fields.pop("items", [])
    return INVOICE.add(call, fields)


def _delete(call: Call) -> Body:
    _, invoice = INVOICE.found(call)
    INVOICE.delete(call)
    return invoice


def _list(call: Call) -> Body:
    text = call.query.get("search", "").lower()
    invoices = [
        invoice
        for invoice in call.listed("invoice")
        if (not call.query.get("status") or invoice.get("status") == call.query["status"])
        and (not call.query.get("contactId") or invoice.get("contactDetails", {}).get("id") == call.query["contactId"])
        and text in str(invoice.get("name") or "").lower()
    ]
    return {"invoices": paging.window(invoices, call.query, start="offset", limit=10), "total": len(invoices)}


ROUTES = (
    Route("GET", "/invoices/", _list, _READ, level="either", required=(*_ALT, "limit", "offset")),
    Route(
        "POST",
        "/invoices/",
        _create,
        _WRITE,
        level="either",
        required=(*_ALT, "name", "currency", "items"),
    ),
    Route("GET", "/invoices/{invoiceId}", INVOICE.get, _READ, level="either", required=_ALT),
    Route("PUT", "/invoices/{invoiceId}", INVOICE.update, _WRITE, level="either", required=_ALT),
    Route("DELETE", "/invoices/{invoiceId}", _delete, _WRITE, level="either", required=_ALT),
)
