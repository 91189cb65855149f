"""Keeps opportunities as the vendor has them; one change fires several of these events (facts.md §2)."""

from levelgate import Context, on
from levelgate.events import (
    OpportunityAssignedToUpdate,
    OpportunityCreate,
    OpportunityDelete,
    OpportunityMonetaryValueUpdate,
    OpportunityStageUpdate,
    OpportunityStatusUpdate,
    OpportunityUpdate,
)
from processors.handlers.mirror import forget, mirror


@on(
    OpportunityCreate,
    OpportunityUpdate,
    OpportunityStageUpdate,
    OpportunityStatusUpdate,
    OpportunityMonetaryValueUpdate,
    OpportunityAssignedToUpdate,
    coalesce=True,
)
async def mirror_opportunity(
    event: OpportunityCreate
    | OpportunityUpdate
    | OpportunityStageUpdate
    | OpportunityStatusUpdate
    | OpportunityMonetaryValueUpdate
    | OpportunityAssignedToUpdate,
    ctx: Context,
) -> None:
    """Re-read the opportunity and upsert it; a 404 means it was deleted: an update follows each delete too."""
    await mirror(ctx, "opportunity", event.id, lambda: ctx.api.opportunities.get(event.id))


@on(OpportunityDelete, coalesce=True)
async def forget_opportunity(event: OpportunityDelete, ctx: Context) -> None:
    """Remove the opportunity."""
    await forget(ctx, "opportunity", event.id)
