"""What app developers import: `on`, `Context`, `Retry`, `Permanent`.

No I/O here: `on` only marks a function; the workers find it in the modules that settings name, and run it.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from schemas.errors import Permanent, Retry
from schemas.events import Event
from schemas.ids import AppName, DeliveryId, EntityId, TenantId

if TYPE_CHECKING:
    import asyncpg
    from structlog.typing import FilteringBoundLogger

    from levelgate.highlevel.api import Api

__all__ = ["Context", "Delivery", "Permanent", "Retry", "on"]

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Awaitable[None]])

MARK = "__levelgate_on__"
"""The attribute under which `on` leaves its marks on a function."""


class Mark(msgspec.Struct, frozen=True):
    """One `@on`: the wire names it asks for, and the handler's name where it is given one."""

    types: tuple[str, ...]
    name: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Which delivery a handler runs for, and for which time."""

    id: DeliveryId
    app: AppName
    tenant: TenantId
    type: str
    entity: EntityId | None
    received_at: datetime
    attempt: int
    """1 on the first run; runs that only waited (for a token, for a budget) do not count."""
    element: int
    """Which element of a list body; 0 for all other bodies."""
    replay_id: str | None


class Context:
    """What a handler gets beside its event.

    `api` calls HighLevel under the event's tenant (token, limits and refresh are taken care of); `db` is
    an asyncpg pool on Levelgate's database; `log` has the delivery's ids bound; `delivery` says what this
    run is for; `idempotency_key` is the same at each run of this pair: hand it to whatever you call, since a
    crash between a handler's end and its record makes it run twice.
    """

    __slots__ = ("api", "db", "delivery", "idempotency_key", "log")

    def __init__(
        self,
        *,
        api: "Api",
        db: "asyncpg.Pool[Any]",
        log: "FilteringBoundLogger",
        delivery: Delivery,
        idempotency_key: str,
    ) -> None:
        self.api = api
        self.db = db
        self.log = log
        self.delivery = delivery
        self.idempotency_key = idempotency_key


def on(*types: type[Event] | str, name: str | None = None) -> Callable[[HandlerFunction], HandlerFunction]:
    """Mark an async function `(event, ctx)` as a handler of event types, given as classes or wire names.

    `name` is what the ledger, metrics and dead letters call it; without it the module's and function's
    names do, and then renaming the function makes a new handler that has done nothing yet.
    Raises TypeError where no type is given, or something else than a type.
    """
    if not types:
        raise TypeError('@on wants at least one event type: @on(ContactCreate) or @on("ContactCreate")')
    for each in types:
        known: object = each  # a caller without a type checker may pass anything, the function itself for one
        if not isinstance(known, str) and not (isinstance(known, type) and issubclass(known, Event)):
            raise TypeError("@on takes event classes of levelgate.events, or wire names; write @on(…), not @on")
    wires = tuple(each if isinstance(each, str) else each.wire for each in types)

    def mark(function: HandlerFunction) -> HandlerFunction:
        setattr(function, MARK, (*getattr(function, MARK, ()), Mark(wires, name)))
        return function

    return mark
