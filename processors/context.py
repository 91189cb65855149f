"""What a handler gets: its event and its context, made for one run of one pair."""

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from levelgate import Context, Delivery
from levelgate.highlevel.api import Api
from levelgate.highlevel.client import ApiCall, HighLevelClient
from levelgate.highlevel.tokens import TokenStore
from processors.pairs import LIVE, Lane, Pair, Record
from processors.sql import Pool
from schemas.catalogue import lookup
from schemas.errors import NotJson, WrongShape
from schemas.events import Event, decode, decode_unknown
from schemas.logs import get_logger

log = get_logger("levelgate.handler")


class HandlerContext(Context):
    """A context that the built-in handlers can also reach the installations by."""

    __slots__ = ("installations",)

    def __init__(self, *, installations: TokenStore, **rest: Any) -> None:  # noqa: ANN401 -- Context's own arguments
        super().__init__(**rest)
        self.installations = installations


class Contexts:
    """Makes contexts; holds what all of them share."""

    def __init__(self, *, client: HighLevelClient, tokens: TokenStore, pool: Pool) -> None:
        self._client = client
        self._tokens = tokens
        self._pool = pool

    def make(
        self, record: Record, pair: Pair, *, attempt: int, on_call: Callable[[ApiCall], None], lane: Lane
    ) -> HandlerContext:
        """Return the context of one run; `on_call` is told of each API call when it has ended.

        Its calls are spent of the share that `lane` has of the tenant's budget.
        """
        env = record.envelope
        key = idempotency_key(pair)
        return HandlerContext(
            api=Api(self._client, env.app, env.tenant, on_call, lane),
            db=self._pool,
            log=log.bind(app=env.app, type=env.type, delivery=env.id, handler=pair.handler, attempt=attempt),
            delivery=Delivery(
                id=env.id,
                app=env.app,
                tenant=env.tenant,
                type=env.type,
                entity=env.entity,
                received_at=env.received_at,
                attempt=attempt,
                element=pair.element,
                replay_id=None if pair.run == LIVE else pair.run,
            ),
            idempotency_key=key,
            installations=self._tokens,
        )


def idempotency_key(pair: Pair) -> str:
    """Return a key of 32 hex characters, the same for every run of `pair` and of no other pair."""
    parts = (pair.app, pair.tenant, pair.delivery, pair.run, pair.handler, str(pair.element))
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()


def events_of(record: Record) -> list[Event]:
    """Return the delivery's typed events: one, or for a list body one an element.

    Raises Poison where the body is not what it was when it was accepted; no text of it is in the message.
    """
    try:
        body = orjson.loads(record.body)
    except orjson.JSONDecodeError:
        # The decoder's error carries the whole body: it ends here.
        raise NotJson("the stored body is not JSON") from None
    known = lookup(record.envelope.type)
    elements = body if isinstance(body, list) else [body]
    if not elements or not all(isinstance(element, dict) for element in elements):
        raise WrongShape("the stored body is neither an object nor a list of objects", reason="wrong_shape")
    if known is None:
        return [decode_unknown(element) for element in elements]
    return [decode(known, element) for element in elements]
