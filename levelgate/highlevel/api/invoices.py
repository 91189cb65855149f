"""Invoices of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Invoices:
    """Invoices of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, invoice_id: str, *, location_id: str | None = None) -> Entity:
        """Return an invoice of the tenant, or of the location that is named."""
        return await self._caller.call(
            "invoices.get-invoice",
            path={"invoiceId": invoice_id},
            query={"altId": location_id or self._caller.tenant, "altType": "location"},
        )
