"""What app developers import: `on`, `Context`, and the errors that handlers raise and meet.

No I/O here: `on` only marks a function; the workers find it in the modules that settings name, and run it.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import msgspec

from schemas.errors import (
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    InstallationMissing,
    Permanent,
    RateLimited,
    Retry,
)
from schemas.events import Event
from schemas.ids import AppName, DeliveryId, EntityId, TenantId

if TYPE_CHECKING:
    import asyncpg
    from structlog.typing import FilteringBoundLogger

    from levelgate.highlevel.api import Api

__all__ = [
    "ApiNotFound",
    "ApiRejected",
    "ApiUnavailable",
    "Context",
    "Delivery",
    "InstallationMissing",
    "Permanent",
    "RateLimited",
    "Retry",
    "on",
]

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Awaitable[None]])

MARK = "__levelgate_on__"
"""The attribute under which `on` leaves its marks on a function."""


Ordering = Literal["strict", "relaxed"]


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What an `@on` says of its handler's policy; where it is None, the worker's settings decide."""

    attempts: int | None = None
    backoff: timedelta | None = None
    max_backoff: timedelta | None = None
    deadline: timedelta | None = None
    timeout: timedelta | None = None
    ordering: Ordering = "strict"
    coalesce: bool = False

    def check(self) -> None:
        """Raise TypeError or ValueError, in the words of `@on`, for what can't be meant."""
        attempts: object = self.attempts  # as with the spans: a caller without a type checker may pass anything
        if attempts is not None:
            if not isinstance(attempts, int) or isinstance(attempts, bool):
                raise TypeError(f"@on: attempts is a whole number, not {attempts!r}")
            if attempts < 1:
                raise ValueError(f"@on: attempts counts the first run too: at least 1, not {attempts}")
        for name in ("backoff", "max_backoff", "deadline", "timeout"):
            span: object = getattr(self, name)
            if span is not None and not isinstance(span, timedelta):
                raise TypeError(f"@on: {name} is a timedelta, as in {name}=timedelta(minutes=5), not {span!r}")
            if span is not None and span <= timedelta(0):
                raise ValueError(f"@on: {name} must be longer than nothing")
        if self.backoff and self.max_backoff and self.backoff > self.max_backoff:
            raise ValueError("@on: backoff, the first wait, is longer than max_backoff, the longest")
        self._check_order()

    def _check_order(self) -> None:
        if self.ordering not in get_args(Ordering):
            raise ValueError(f'@on: ordering is "strict" or "relaxed", not {self.ordering!r}')
        coalesce: object = self.coalesce
        if not isinstance(coalesce, bool):
            raise TypeError(f"@on: coalesce is True or False, not {coalesce!r}")
        if coalesce and self.ordering != "strict":
            raise ValueError('@on: coalesce needs ordering="strict": a relaxed handler keeps nobody waiting to fold')


class Mark(msgspec.Struct, frozen=True):
    """One `@on`: the wire names it asks for, the handler's name where it is given one, and its policy."""

    types: tuple[str, ...]
    name: str | None
    overrides: Overrides


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


def on(
    *types: type[Event] | str,
    name: str | None = None,
    attempts: int | None = None,
    backoff: timedelta | None = None,
    max_backoff: timedelta | None = None,
    deadline: timedelta | None = None,
    timeout: timedelta | None = None,
    ordering: Ordering = "strict",
    coalesce: bool = False,
) -> Callable[[HandlerFunction], HandlerFunction]:
    """Mark an async function `(event, ctx)` as a handler of event types, given as classes or wire names.

    `name` is what the ledger, metrics and dead letters call it; without it the module's and function's
    names do, and then renaming the function makes a new handler that has done nothing yet.

    The rest is its policy; what is left out is as the worker's settings have it:
    `attempts`: how many runs may fail before the pair is a dead letter, the first one counted;
    `backoff`: about how long it waits after the first failure, doubled at each further one up to `max_backoff`;
    `deadline`: how long after its delivery was received a pair may still be put off: from then on a failure is
    the last one, whatever attempts are left, and waiting for a token or for the API's limits ends as well;
    `timeout`: how long one run may take;
    `ordering`: "strict" keeps later events of an entity behind one that failed, "relaxed" lets them pass;
    `coalesce`: events of an entity that wait together are one run, for the newest of them, and all are done by it:
    for handlers that read the current state, whatever the event says.

    Raises TypeError or ValueError where no type is given, or something else than a type, or no such policy can be.
    """
    if not types:
        raise TypeError('@on wants at least one event type: @on(ContactCreate) or @on("ContactCreate")')
    for each in types:
        known: object = each  # a caller without a type checker may pass anything, the function itself for one
        if not isinstance(known, str) and not (isinstance(known, type) and issubclass(known, Event)):
            raise TypeError("@on takes event classes of levelgate.events, or wire names; write @on(…), not @on")
    wires = tuple(each if isinstance(each, str) else each.wire for each in types)
    overrides = Overrides(
        attempts=attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        deadline=deadline,
        timeout=timeout,
        ordering=ordering,
        coalesce=coalesce,
    )
    overrides.check()

    def mark(function: HandlerFunction) -> HandlerFunction:
        setattr(function, MARK, (*getattr(function, MARK, ()), Mark(wires, name, overrides)))
        return function

    return mark
