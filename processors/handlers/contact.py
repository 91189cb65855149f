"""Keeps contacts as the vendor has them."""

from levelgate import Context, on
from levelgate.events import ContactCreate, ContactDelete, ContactDndUpdate, ContactTagUpdate, ContactUpdate
from processors.handlers.mirror import forget, mirror


@on(ContactCreate, ContactUpdate, ContactTagUpdate, ContactDndUpdate, coalesce=True)
async def mirror_contact(
    event: ContactCreate | ContactUpdate | ContactTagUpdate | ContactDndUpdate, ctx: Context
) -> None:
    """Re-read the contact and upsert it; a 404 means it was deleted meanwhile."""
    await mirror(ctx, "contact", event.id, lambda: ctx.api.contacts.get(event.id))


@on(ContactDelete, coalesce=True)
async def forget_contact(event: ContactDelete, ctx: Context) -> None:
    """Remove the contact."""
    await forget(ctx, "contact", event.id)
