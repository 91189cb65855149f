"""Opportunities of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Opportunities:
    """Opportunities of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, opportunity_id: str) -> Entity:
        """Return an opportunity; its notes are promised by the documents and never there (facts.md §6)."""
        return await self._caller.call_for("opportunity", "opportunities.get-opportunity", path={"id": opportunity_id})
