"""Keeps users as the vendor has them.

Bodies of updates and deletes may call themselves UserCreate (facts.md §5): reading again tells which it was.
"""

from levelgate import Context, on
from levelgate.events import UserCreate, UserDelete, UserUpdate
from processors.handlers.mirror import forget, mirror, under_either_token


@on(UserCreate, UserUpdate)
async def mirror_user(event: UserCreate | UserUpdate, ctx: Context) -> None:
    """Re-read the user, under the location's token or its agency's, and upsert it; a 404 means it was deleted."""
    await mirror(
        ctx,
        "user",
        event.id,
        lambda: under_either_token(ctx, event.company_id, lambda api: api.users.get(event.id)),
    )


@on(UserDelete, coalesce=True)
async def forget_user(event: UserDelete, ctx: Context) -> None:
    """Remove the user."""
    await forget(ctx, "user", event.id)
