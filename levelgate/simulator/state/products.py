"""Products: `/products/…`; their prices are in `prices`."""

from levelgate.simulator.names import new_object_id
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "products.readonly"
_WRITE = "products.write"
_LOCATION = ("locationId",)

PRODUCT = Resource(
    kind="product",
    param="productId",
    id_field="_id",
    new_id=new_object_id,
    created_field="createdAt",
    updated_field="updatedAt",
    deleted={"status": True},
)


def _list(call: Call) -> Body:
    text = call.query.get("search", "").lower()
    ids = call.query.get("productIds")
    products = [
        product
        for product in call.listed("product")
        if text in str(product.get("name") or "").lower() and (not ids or product["_id"] in ids.split(","))
    ]
    return {
        "products": paging.window(products, call.query, start="offset", limit=0),
        "total": [{"total": len(products)}],
    }


ROUTES = (
    Route("GET", "/products/", _list, _READ, level="either", required=_LOCATION),
    Route(
        "POST",
        "/products/",
        PRODUCT.create,
        _WRITE,
        level="either",
        status=201,
        required=("name", "locationId", "productType"),
    ),
    Route("GET", "/products/{productId}", PRODUCT.get, _READ, level="either", required=_LOCATION),
    Route("PUT", "/products/{productId}", PRODUCT.update, _WRITE, level="either", required=_LOCATION),
    Route("DELETE", "/products/{productId}", PRODUCT.delete, _WRITE, level="either", required=_LOCATION),
)
