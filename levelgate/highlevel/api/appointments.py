"""Appointments of a location's calendars."""

from levelgate.highlevel.api.caller import Caller, Entity


class Appointments:
    """Appointments of a location's calendars."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, appointment_id: str) -> Entity:
        """Return an appointment."""
        return await self._caller.call_for("event", "calendars.get-appointment", path={"eventId": appointment_id})
