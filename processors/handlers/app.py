"""Keeps the installations: what the vendor tells of installs and uninstalls.

INSTALL is the only push for locations of a bulk install; it may come before the browser's callback, and a notice may
be days late, so each carries the vendor's time of it.
"""

from datetime import UTC, datetime

from levelgate import on
from levelgate.events import Install, Uninstall
from processors.context import HandlerContext
from schemas.ids import CompanyId, LocationId, TenantId


@on(Install)
async def record_install(event: Install, ctx: HandlerContext) -> None:
    """Make the installation known; its token comes by the callback or, for a location, by exchange."""
    await ctx.installations.record_install(
        ctx.delivery.app,
        LocationId(event.location_id) if event.location_id else None,
        CompanyId(event.company_id) if event.company_id else None,
        at=_told_at(event, ctx),
    )


@on(Uninstall)
async def record_uninstall(event: Uninstall, ctx: HandlerContext) -> None:
    """Erase the installation's tokens; they ended at the vendor."""
    await ctx.installations.record_uninstall(
        ctx.delivery.app,
        TenantId(event.location_id or event.company_id),
        is_company=not event.location_id,
        at=_told_at(event, ctx),
    )


def _told_at(event: Install | Uninstall, ctx: HandlerContext) -> datetime:
    """Return the vendor's time of the notice, never later than we received it."""
    try:
        at = datetime.fromisoformat(event.timestamp)
    except ValueError:
        return ctx.delivery.received_at
    return min(at if at.tzinfo else at.replace(tzinfo=UTC), ctx.delivery.received_at)
