"""Keeps invoices as the vendor has them."""

from levelgate import Context, on
from levelgate.events import (
    InvoiceCreate,
    InvoiceDelete,
    InvoicePaid,
    InvoicePartiallyPaid,
    InvoiceSent,
    InvoiceUpdate,
    InvoiceVoid,
)
from processors.handlers.mirror import forget, mirror


@on(InvoiceCreate, InvoiceUpdate, InvoiceSent, InvoicePaid, InvoicePartiallyPaid, InvoiceVoid, coalesce=True)
async def mirror_invoice(
    event: InvoiceCreate | InvoiceUpdate | InvoiceSent | InvoicePaid | InvoicePartiallyPaid | InvoiceVoid,
    ctx: Context,
) -> None:
    """Re-read the invoice and upsert it; a 404 means it was deleted meanwhile."""
    await mirror(ctx, "invoice", event.id, lambda: ctx.api.invoices.get(event.id))


@on(InvoiceDelete, coalesce=True)
async def forget_invoice(event: InvoiceDelete, ctx: Context) -> None:
    """Remove the invoice."""
    await forget(ctx, "invoice", event.id)
