"""Keeps locations as the vendor has them; their deletion fires no event (facts.md §5)."""

from levelgate import Context, on
from levelgate.events import LocationCreate, LocationUpdate
from processors.handlers.mirror import mirror, under_either_token


@on(LocationCreate, LocationUpdate, coalesce=True)
async def mirror_location(event: LocationCreate | LocationUpdate, ctx: Context) -> None:
    """Re-read the location, under its own token or its agency's, and upsert it; a 404 means it was deleted."""
    await mirror(
        ctx,
        "location",
        event.id,
        lambda: under_either_token(ctx, event.company_id, lambda api: api.locations.get(event.id)),
    )
