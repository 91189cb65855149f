"""Orders of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Orders:
    """Orders of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, order_id: str, *, location_id: str | None = None) -> Entity:
        """Return an order of the tenant, or of the location that is named."""
        location = location_id or self._caller.tenant
        return await self._caller.call(
            "payments.get-order-by-id",
            path={"orderId": order_id},
            query={"locationId": location, "altId": location, "altType": "location"},
        )
