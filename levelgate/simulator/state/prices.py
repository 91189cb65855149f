"""Prices: only under their product."""

from levelgate.simulator.names import new_object_id
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "products/prices.readonly"
_WRITE = "products/prices.write"
_LOCATION = ("locationId",)
_PATH = "/products/{productId}/price"

PRICE = Resource(
    kind="price",
    param="priceId",
    id_field="_id",
    new_id=new_object_id,
    created_field="createdAt",
    updated_field="updatedAt",
    parent=("productId", "product"),
    parent_kind="product",
    deleted={"status": True},
)


def _list(call: Call) -> Body:
    ids = call.query.get("ids")
    prices = [price for price in PRICE.children(call) if not ids or price["_id"] in ids.split(",")]
    return {"prices": paging.window(prices, call.query, start="offset", limit=0), "total": len(prices)}


ROUTES = (
    Route("GET", _PATH, _list, _READ, level="either", required=_LOCATION),
    Route(
        "POST",
        _PATH,
        PRICE.create,
        _WRITE,
        level="either",
        status=201,
        required=("name", "type", "currency", "amount", "locationId"),
    ),
    Route("GET", _PATH + "/{priceId}", PRICE.get, _READ, level="either", required=_LOCATION),
    Route("PUT", _PATH + "/{priceId}", PRICE.update, _WRITE, level="either", required=_LOCATION),
    Route("DELETE", _PATH + "/{priceId}", PRICE.delete, _WRITE, level="either", required=_LOCATION),
)
