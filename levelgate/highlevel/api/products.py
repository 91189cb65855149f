"""Products of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Products:
    """Products of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, product_id: str, *, location_id: str | None = None) -> Entity:
        """Return a product of the tenant, or of the location that is named."""
        return await self._caller.call(
            "products.get-product-by-id",
            path={"productId": product_id},
            query={"locationId": location_id or self._caller.tenant},
        )
