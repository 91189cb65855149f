"""Orders: read, listed, paid; shops make them, no API does."""

from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "payments/orders.readonly"

ORDER = Resource(
    kind="order",
    param="orderId",
    id_field="_id",
    created_field="createdAt",
    updated_field="updatedAt",
    shows_tenant="altId",
)


def _list(call: Call) -> Body:
    filters = [field for field in ("status", "contactId", "paymentStatus") if call.query.get(field)]
    orders = [
        order for order in call.listed("order") if all(order.get(field) == call.query[field] for field in filters)
    ]
    return {"data": paging.window(orders, call.query, start="offset", limit=10), "totalCount": len(orders)}


def _record_payment(call: Call) -> Body:
    order_id, order = ORDER.found(call)
    part = bool(call.body.get("isPartialPayment"))
    paid = {"status": "partially_paid" if part else "completed", "paymentStatus": "partially_paid" if part else "paid"}
    ORDER.change(call, order_id, {**order, **paid})
    return {"success": True}


ROUTES = (
    Route("GET", "/payments/orders", _list, _READ, required=("altId",)),
    Route("GET", "/payments/orders/{orderId}", ORDER.get, _READ, required=("altId",)),
    Route(
        "POST",
        "/payments/orders/{orderId}/record-payment",
        _record_payment,
        "payments/orders.collectPayment",
        required=("altId", "altType", "mode"),
    ),
)
