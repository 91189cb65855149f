"""Locations (sub-accounts); a location's token reads its own, a company's token all of the company's."""

from levelgate.highlevel.api.caller import Caller, Entity


class Locations:
    """Locations (sub-accounts); a location's token reads its own, a company's token all of the company's."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, location_id: str) -> Entity:
        """Return a location."""
        return await self._caller.call_for("location", "locations.get-location", path={"locationId": location_id})
