"""Keeps prices as the vendor has them; it gives them under their product only."""

from levelgate import Context, on
from levelgate.events import PriceCreate, PriceDelete, PriceUpdate
from processors.handlers.mirror import forget, kept, mirror
from schemas.errors import Permanent


@on(PriceCreate, PriceUpdate, coalesce=True)
async def mirror_price(event: PriceCreate | PriceUpdate, ctx: Context) -> None:
    """Re-read the price and upsert it; a 404 means that it, or its product, was deleted meanwhile."""
    product_id = event.product or (await kept(ctx, "price", event.id)).get("product")
    if not product_id:
        raise Permanent(f"the {ctx.delivery.type} names no product, and the price is not known")
    await mirror(ctx, "price", event.id, lambda: ctx.api.prices.get(product_id, event.id))


@on(PriceDelete, coalesce=True)
async def forget_price(event: PriceDelete, ctx: Context) -> None:
    """Remove the price."""
    await forget(ctx, "price", event.id)
