"""Prices of a location's products."""

from levelgate.highlevel.api.caller import Caller, Entity


class Prices:
    """Prices of a location's products."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, product_id: str, price_id: str, *, location_id: str | None = None) -> Entity:
        """Return a price of a product of the tenant, or of the location that is named."""
        return await self._caller.call(
            "products.get-price-by-id-for-product",
            path={"productId": product_id, "priceId": price_id},
            query={"locationId": location_id or self._caller.tenant},
        )
