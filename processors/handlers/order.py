"""Keeps orders as the vendor has them."""

from levelgate import Context, on
from levelgate.events import OrderCreate, OrderStatusUpdate
from processors.handlers.mirror import mirror


@on(OrderCreate, OrderStatusUpdate, coalesce=True)
async def mirror_order(event: OrderCreate | OrderStatusUpdate, ctx: Context) -> None:
    """Re-read the order and upsert it; a 404 means it was deleted meanwhile."""
    await mirror(ctx, "order", event.id, lambda: ctx.api.orders.get(event.id))
