"""Contacts of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Contacts:
    """Contacts of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, contact_id: str) -> Entity:
        """Return a contact."""
        return await self._caller.call_for("contact", "contacts.get-contact", path={"contactId": contact_id})
