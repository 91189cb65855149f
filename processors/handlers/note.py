"""Keeps notes as the vendor has them; it gives them under their contact only."""

from levelgate import Context, on
from levelgate.events import NoteCreate, NoteDelete, NoteUpdate
from processors.handlers.mirror import forget, kept, mirror
from schemas.errors import Permanent


@on(NoteCreate, NoteUpdate, coalesce=True)
async def mirror_note(event: NoteCreate | NoteUpdate, ctx: Context) -> None:
    """Re-read the note and upsert it; a 404 means that it, or its contact, was deleted meanwhile."""
    contact_id = event.contact_id or (await kept(ctx, "note", event.id)).get("contactId")
    if not contact_id:
        raise Permanent(f"the {ctx.delivery.type} names no contact, and the note is not known")
    await mirror(ctx, "note", event.id, lambda: ctx.api.notes.get(contact_id, event.id))


@on(NoteDelete, coalesce=True)
async def forget_note(event: NoteDelete, ctx: Context) -> None:
    """Remove the note."""
    await forget(ctx, "note", event.id)
