"""A rehearsal: handlers run on events of the past, and nothing comes of it but a list of what they would have done.

Each handler runs once, with a client that keeps its calls (`rehearsed_calls`) and a database that is rolled back
(`stage`). What it does by any other way, it does. Events run beside each other without regard to entities' order, since
no run sees what another one wrote; results come in the events' order.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.recording import Call
from levelgate.highlevel.tokens import TokenStore
from processors import handlers as built_in
from processors.comparison import Difference, differences
from processors.context import Contexts, events_of
from processors.pairs import Pair, Record
from processors.registry import Handler, Registry
from processors.rehearsed_calls import Reads, RehearsedCall, RehearsedClient
from processors.retries import default_policy, policy_of
from processors.sql import Pool
from processors.stage import Stage
from processors.statements import Statement
from processors.trial import Outcome, failure_of, verdict
from schemas.envelope import Envelope
from schemas.errors import LevelgateError, RateLimited, RefreshFailed
from schemas.events import Event
from schemas.ids import AppName, TenantId
from schemas.metrics import ApiMetrics
from schemas.settings import Settings, parse_token_keys

REHEARSAL = "rehearsal"
"""The replay's id that handlers see."""

_PATIENCE = timedelta(minutes=2)
"""For how long one handler's run waits for the API's limits, over all its tries."""

Result = TypeVar("Result")


class RehearsedPair(msgspec.Struct, frozen=True):
    """What came of one handler's run."""

    handler: str
    element: int
    outcome: Outcome
    calls: tuple[RehearsedCall, ...]
    statements: tuple[Statement, ...]

    @property
    def is_guess(self) -> bool:
        """Whether it failed after a read that was not made: with a real answer it might not have."""
        return self.outcome.error is not None and any(call.is_read and not call.is_made for call in self.calls)


class Rehearsed(msgspec.Struct, frozen=True):
    """An event and its handlers' runs, element by element."""

    envelope: Envelope
    pairs: tuple[RehearsedPair, ...]


class Compared(msgspec.Struct, frozen=True):
    """An event, run by two versions of handlers."""

    envelope: Envelope
    old: tuple[RehearsedPair, ...]
    new: tuple[RehearsedPair, ...]
    calls: tuple[Difference, ...]
    """Of all calls, reads too."""
    statements: tuple[Difference, ...]
    """Of what is asked of the database, reads too."""
    old_failures: tuple[str, ...]
    new_failures: tuple[str, ...]

    @property
    def has_handler(self) -> bool:
        """Whether a handler of one of the versions is for it: else there is nothing to compare."""
        return bool(self.old or self.new)

    @property
    def is_equal(self) -> bool:
        """Whether both versions would do the same, and fail in the same way."""
        return not self.calls and not self.statements and self.old_failures == self.new_failures


class Rehearsal:
    """Runs handlers without effect."""

    def __init__(self, pool: Pool, session: aiohttp.ClientSession, settings: Settings, reads: Reads | None) -> None:
        """Make one whose runs each take a connection of `pool`; with `reads`, these are made."""
        self._pool = pool
        self._session = session
        self._settings = settings
        self._keyring = KeyRing(parse_token_keys(settings.token_keys))
        self._policy = default_policy(settings.worker)
        self.reads = reads

    async def rehearse(self, record: Record, registry: Registry) -> Rehearsed:
        """Run the handlers of a delivery, one after another; what they raise is in the result."""
        return Rehearsed(record.envelope, await self._pairs(record, registry))

    async def compare(self, record: Record, old: Registry, new: Registry) -> Compared:
        """Run both versions on a delivery and compare what they would do."""
        ran, rerun = await self._pairs(record, old), await self._pairs(record, new)
        return Compared(
            record.envelope,
            ran,
            rerun,
            tuple(differences(_calls(ran), _calls(rerun))),
            tuple(differences(_statements(ran), _statements(rerun))),
            _failures(ran),
            _failures(rerun),
        )

    async def _pairs(self, record: Record, registry: Registry) -> tuple[RehearsedPair, ...]:
        handlers = () if record.envelope.reason else meant(record, registry)
        if not handlers:
            return ()
        replayed = msgspec.structs.replace(
            record, envelope=msgspec.structs.replace(record.envelope, replay_id=record.envelope.replay_id or REHEARSAL)
        )
        try:
            events: list[Event | LevelgateError] = list(events_of(replayed))
        except LevelgateError as error:
            events = [error]
        return tuple(
            [
                await self._pair(replayed, handler, element, event)
                for element, event in enumerate(events)
                if record.has(element)
                for handler in sorted(handlers, key=place)
            ]
        )

    async def _pair(
        self, record: Record, handler: Handler, element: int, event: Event | LevelgateError
    ) -> RehearsedPair:
        policy = policy_of(handler.overrides, self._policy)
        pair = record.pair(place(handler), element)
        waited = timedelta()
        while True:
            client, stage = RehearsedClient(self.reads), Stage(self._pool)
            failure: BaseException | None
            if isinstance(event, LevelgateError):
                failure = event
            else:
                failure = await self._failure(record, pair, handler, event, client, stage, policy.timeout_s)
            # Run anew as a worker would, only sooner; the reads that it made already are answered from memory.
            wait = failure.after if isinstance(failure, RateLimited) and client.was_limited else None
            if wait is None or waited + wait > _PATIENCE:
                break
            waited += wait
            await asyncio.sleep(wait.total_seconds())
        outcome = verdict(failure, attempt=1, received_at=record.envelope.received_at, policy=policy)
        return RehearsedPair(handler.name, element, outcome, tuple(client.calls), tuple(stage.statements))

    async def _failure(
        self,
        record: Record,
        pair: Pair,
        handler: Handler,
        event: Event,
        client: RehearsedClient,
        stage: Stage,
        timeout_s: float | None,
    ) -> BaseException | None:
        async with stage:
            db = cast("Pool", stage)
            installations = _StagedInstallations(
                db, self._keyring, self._session, self._settings, ApiMetrics(CollectorRegistry())
            )
            contexts = Contexts(client=client, tokens=installations, pool=db)
            ctx = contexts.make(record, pair, attempt=1, on_call=lambda _call: None, lane="replay")
            return await failure_of(handler, event, ctx, timeout_s=timeout_s)


class _StagedInstallations(TokenStore):
    """Installations as the lifecycle handlers write them, on a stage; the vendor is not asked."""

    async def access_token(self, app: AppName, tenant: TenantId) -> SecretStr:
        """Refuse: a token that was fetched and then rolled back would be lost."""
        raise RefreshFailed(f"a rehearsal fetches no token of {app} for {tenant}")


async def in_order(
    records: AsyncIterable[Record],
    work: Callable[[Record], Coroutine[Any, Any, Result]],
    told: Callable[[Result], None],
    *,
    at_once: int,
) -> None:
    """Do `work` for up to `at_once` records at a time; `told` gets the results in the records' order.

    Raises what any of them does; then what else runs is ended first.
    """
    running: deque[asyncio.Task[Result]] = deque()

    async def tell_first() -> None:
        told(await running[0])
        del running[0]

    try:
        async for record in records:
            running.append(asyncio.create_task(work(record)))
            if len(running) == at_once:
                await tell_first()
        while running:
            await tell_first()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def place(handler: Handler) -> str:
    """Return what a handler is called in whichever module it stands: so another version of it has the same place.

    It decides the order of runs and the idempotency key, which would else differ in each call that carries it.
    """
    function = handler.function
    module = f"{getattr(function, '__module__', '')}."
    own = getattr(function, "__qualname__", "")
    return own if handler.name == module + own else handler.name


def meant(record: Record, registry: Registry) -> tuple[Handler, ...]:
    """Return the handlers of a version that a delivery is for: of its type, and in the place of one that was chosen.

    A replay chooses by the names of the running version, which the registry may know or not.
    """
    chosen = record.envelope.replay_handlers
    names = {name for name in chosen if registry.by_name(name)}
    # A name is a place, or a module before it. Built-in handlers have no other version.
    places = [f".{name}" for name in chosen if name not in names and not name.startswith(f"{built_in.__name__}.")]
    return tuple(
        handler
        for handler in registry.for_type(record.envelope.type)
        if not chosen or handler.name in names or any(name.endswith(f".{place(handler)}") for name in places)
    )


def _calls(pairs: tuple[RehearsedPair, ...]) -> list[Call]:
    return [each.call for pair in pairs for each in pair.calls]


def _statements(pairs: tuple[RehearsedPair, ...]) -> list[Statement]:
    return [each for pair in pairs for each in pair.statements]


def _failures(pairs: tuple[RehearsedPair, ...]) -> tuple[str, ...]:
    """Return how the runs failed that did, in words that two versions can have in common."""
    failed = [(pair.outcome.state, type(pair.outcome.error).__name__) for pair in pairs if pair.outcome.error]
    return tuple(sorted(f"{state}: {error}" for state, error in failed))
