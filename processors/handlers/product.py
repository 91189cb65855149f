"""Keeps products as the vendor has them."""

from levelgate import Context, on
from levelgate.events import ProductCreate, ProductDelete, ProductUpdate
from processors.handlers.mirror import forget, mirror


@on(ProductCreate, ProductUpdate, coalesce=True)
async def mirror_product(event: ProductCreate | ProductUpdate, ctx: Context) -> None:
    """Re-read the product and upsert it; a 404 means it was deleted meanwhile."""
    await mirror(ctx, "product", event.id, lambda: ctx.api.products.get(event.id))


@on(ProductDelete, coalesce=True)
async def forget_product(event: ProductDelete, ctx: Context) -> None:
    """Remove the product."""
    await forget(ctx, "product", event.id)
