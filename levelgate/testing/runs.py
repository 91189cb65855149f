"""A documented event, a context whose API is scripted, one run of a handler and the worker's verdict on it.

The verdict is the worker's own: what a handler raises is judged by the policy of its `@on`, with the settings'
defaults for what that leaves out. Opens nothing: no network, no database.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

import msgspec

from levelgate import Context, Delivery
from levelgate.highlevel.api import Api
from levelgate.highlevel.client import HighLevelClient, OnCall
from levelgate.highlevel.lanes import Lane
from levelgate.highlevel.recording import Call, call_of, copied
from processors.context import idempotency_key
from processors.pairs import LIVE, Pair
from processors.registry import handler_of
from processors.retries import default_policy, policy_of
from processors.trial import Outcome, failure_of, verdict
from schemas.catalogue import entity_of, lookup, tenant_of
from schemas.envelope import NO_TENANT
from schemas.events import Event, decode
from schemas.ids import AppName, DeliveryId, TenantId
from schemas.logs import get_logger
from schemas.operations import Operation
from schemas.samples import samples
from schemas.settings import Worker

E = TypeVar("E", bound=Event)

Answer = Mapping[str, Any] | Exception
"""What the API answers to a call: the vendor's JSON object, or an error of `schemas.errors` that it raises."""

# Read now, at import: in a test it would be read inside the event loop.
_SAMPLES = {each.name: each for each in samples()}

_CALL = re.compile(r"[A-Z]+ /\S*")


class UnexpectedCall(AssertionError):
    """The handler did something that the test did not provide for."""


class RecordingContext(Context):
    """A handler's context that keeps what was called; made by `context` and by `SimulatedVendor.context`."""

    __slots__ = ("calls", "unexpected")

    def __init__(self, *, calls: list[Call], unexpected: list[UnexpectedCall], **rest: Any) -> None:  # noqa: ANN401 -- Context's own arguments
        super().__init__(**rest)
        self.calls = calls
        """The API calls that were made, in their order."""
        self.unexpected = unexpected


@overload
def sample(event: type[E], /, **changes: object) -> E: ...
@overload
def sample(event: str, /, **changes: object) -> Event: ...
def sample(event: type[Event] | str, /, **changes: object) -> Event:
    """Return a documented event of a type, with fields of its body changed.

    The type is a class of `levelgate.events`, a wire name, or the name of one of several samples: `InvoicePaid-2`.
    Fields are named as the vendor does (`firstName`) or as the class does (`first_name`).
    Raises ValueError for a type without a sample, TypeError for a field that the type does not have.
    """
    asked = event if isinstance(event, str) else event.wire
    wire, _, number = asked.partition("-")
    known = lookup(wire)
    found = _SAMPLES.get(f"{known.wire}-{number or 1}") if known else None
    if known is None or found is None:
        raise ValueError(f"HighLevel documents no sample {asked}: `levelgate simulate samples --write` has them all")
    body = copied(found.body[0] if isinstance(found.body, list) else found.body)
    typed = decode(known, body)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(typed) if field.name != "raw"}
    for name, value in changes.items():
        field = names.get(name, name)
        if field not in body and field not in names.values():
            raise TypeError(f"{known.wire} has no field {name}")
        body[field] = value
    return decode(known, body)


def context(
    event: Event,
    *,
    answers: Mapping[str, Answer | Sequence[Answer]] | None = None,
    app: str = "demo",
    attempt: int = 1,
    received_at: datetime | None = None,
    db: Any = None,  # noqa: ANN401 -- an asyncpg pool, or whatever of it the handler uses
) -> RecordingContext:
    """Return a context for one run of a handler on `event`, which was received just now unless said otherwise.

    `answers` says what the API answers, by method and path: `GET /contacts/abc`, or `GET /contacts/{contactId}` for
    all of them. A list is answered in turn; an exception is raised. A call without an answer ends the test.
    `ctx.api` is the real one down to the call, so a method's answer is what it takes out of the vendor's JSON.
    """
    client = _ScriptedClient(answers or {})
    return context_of(event, client, app=app, attempt=attempt, received_at=received_at, db=db)


class RecordingClient(HighLevelClient):
    """Notes each call that a handler makes; subclasses answer it. Takes nothing of what the real one is made of."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.unexpected: list[UnexpectedCall] = []

    def note(
        self,
        tenant: TenantId,
        operation: Operation,
        path: Mapping[str, str] | None,
        query: Mapping[str, str | int | bool | None] | None,
        json: Any,  # noqa: ANN401 -- any JSON
    ) -> str:
        """Note a call, given as `request` gets it; return its name, `GET /contacts/abc`."""
        self.calls.append(call_of(tenant, operation, path, query, json))
        return self.calls[-1].named


def context_of(
    event: Event,
    client: RecordingClient,
    *,
    app: str,
    attempt: int,
    received_at: datetime | None,
    db: Any,  # noqa: ANN401 -- as in `context`
) -> RecordingContext:
    """Return a context whose API goes through `client`."""
    known = lookup(type(event).wire or event.type)
    tenant = tenant_of(known, event.raw) or NO_TENANT
    delivery = Delivery(
        id=DeliveryId(event.webhook_id or "delivery-of-a-test"),
        app=AppName(app),
        tenant=tenant,
        type=known.wire if known else event.type,
        entity=entity_of(known, event.raw) if known else None,
        received_at=received_at or datetime.now(UTC),
        attempt=attempt,
        element=0,
        replay_id=None,
    )
    return RecordingContext(
        api=Api(client, delivery.app, tenant),
        db=db if db is not None else _NoDatabase(client.unexpected),
        log=get_logger("levelgate.handler").bind(type=delivery.type, delivery=delivery.id, attempt=attempt),
        delivery=delivery,
        idempotency_key=idempotency_key(Pair(delivery.app, tenant, delivery.id, LIVE, "handler-of-a-test", 0)),
        calls=client.calls,
        unexpected=client.unexpected,
    )


async def run(handler: Callable[..., Awaitable[None]], event: Event, ctx: RecordingContext) -> Outcome:
    """Run a handler once and return what a worker would make of it.

    Raises UnexpectedCall where it did what the test does not provide for, even if it caught that itself;
    Misconfigured where a worker would refuse to load it, TypeError where it is not registered for the event.
    """
    registered = handler_of(handler, built_in=False)
    if ctx.delivery.type not in registered.types:
        raise TypeError(f"{registered.name} is registered for {', '.join(registered.types)}, not {ctx.delivery.type}")
    policy = policy_of(registered.overrides, default_policy(Worker()))
    failure = await failure_of(registered, event, ctx, timeout_s=policy.timeout_s)
    if ctx.unexpected:
        raise ctx.unexpected[0]
    return verdict(failure, attempt=ctx.delivery.attempt, received_at=ctx.delivery.received_at, policy=policy)


class _ScriptedClient(RecordingClient):
    """Answers calls from a script, and makes none."""

    def __init__(self, answers: Mapping[str, Answer | Sequence[Answer]]) -> None:
        super().__init__()
        for named in answers:
            if not _CALL.fullmatch(named):
                raise ValueError(f"answers go by method and path, as in 'GET /contacts/abc', not by {named!r}")
        self._answers = {
            named: iter(answer) if isinstance(answer, Sequence) else answer for named, answer in answers.items()
        }

    async def request(
        self,
        app: AppName,
        tenant: TenantId,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        json: Any = None,  # noqa: ANN401 -- any JSON
        on_call: OnCall | None = None,
        lane: Lane = "live",
    ) -> Any:  # noqa: ANN401 -- any JSON
        """Record the call and give its answer; the real one's arguments."""
        del app, on_call, lane
        named = self.note(tenant, operation, path, query, json)
        answer = self._answers.get(named, self._answers.get(f"{operation.method} {operation.path}"))
        if answer is not None and not isinstance(answer, Mapping | Exception):
            answer = next(answer, None)
        if answer is None:
            raise _noted(self.unexpected, f"the handler calls {named}, for which `answers` has none (any more)")
        if isinstance(answer, Exception):
            raise answer
        return copied(answer)


class _NoDatabase:
    """Stands for the pool that the test does not give."""

    def __init__(self, unexpected: list[UnexpectedCall]) -> None:
        self._unexpected = unexpected

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- raises
        raise _noted(self._unexpected, f"the handler uses ctx.db.{name}, but the test gives no db: context(…, db=…)")


def _noted(unexpected: list[UnexpectedCall], message: str) -> UnexpectedCall:
    unexpected.append(UnexpectedCall(message))
    return unexpected[-1]
