"""Notes of contacts; the vendor gives them contact by contact only (facts.md §6)."""

from levelgate.highlevel.api.caller import Caller, Entity


class Notes:
    """Notes of contacts."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, contact_id: str, note_id: str) -> Entity:
        """Return a note of a contact."""
        return await self._caller.call_for("note", "contacts.get-note", path={"contactId": contact_id, "id": note_id})
