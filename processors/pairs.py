"""The values that the worker's parts hand to each other: deliveries read, pairs, and what became of them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from levelgate.highlevel import lanes
from levelgate.highlevel.client import ApiCall
from schemas.envelope import Envelope, Headers

LIVE = "live"
"""The run of everything that is not a replay."""

Lane = lanes.Lane
"""What competes for a worker's places and a tenant's calls: first runs, parked pairs that are back, all of a replay."""


def lane_of(run: str, *, was_parked: bool) -> Lane:
    """Return the lane of a pair of `run` whose turn has come."""
    if run != LIVE:
        return "replay"
    return "retry" if was_parked else "live"


class Pair(msgspec.Struct, frozen=True, order=True):
    """One delivery and one handler (of one element, in a list): the unit of done, parked and dead."""

    app: str
    tenant: str
    delivery: str
    run: str
    handler: str
    element: int


def pair_of(row: Any) -> Pair:  # noqa: ANN401 -- a row of any query
    """Return the pair that a row is about, by its columns."""
    return Pair(row["app"], row["tenant"], row["delivery"], row["run"], row["handler"], row["element"])


def pair_columns(pairs: Collection[Pair]) -> dict[str, list[Any]]:
    """Return the parameters of a statement on many pairs: a list for each part of their key."""
    return {
        "apps": [pair.app for pair in pairs],
        "tenants": [pair.tenant for pair in pairs],
        "deliveries": [pair.delivery for pair in pairs],
        "runs": [pair.run for pair in pairs],
        "handlers": [pair.handler for pair in pairs],
        "elements": [pair.element for pair in pairs],
    }


class Line(msgspec.Struct, frozen=True):
    """Who waits behind whom: pairs of one entity and one handler, in one run."""

    app: str
    tenant: str
    topic: str
    entity: str
    handler: str
    run: str


class Record(msgspec.Struct, frozen=True):
    """A delivery as it lies in Kafka."""

    envelope: Envelope
    topic: str
    partition: int
    offset: int
    headers: Headers
    body: bytes

    @property
    def run(self) -> str:
        """`live`, or the id of the replay that it belongs to."""
        return self.envelope.replay_id or LIVE

    @property
    def entity(self) -> str:
        """What order is kept for; a delivery that names no entity is in order with itself alone."""
        return self.envelope.entity or f"~{self.envelope.id}"

    def is_for(self, handler: str) -> bool:
        """Whether the delivery is given to `handler`, if that takes its type: not where a replay is for others."""
        return not self.envelope.replay_handlers or handler in self.envelope.replay_handlers

    def has(self, element: int) -> bool:
        """Whether an element of its list body is given to handlers: not where a replay is for another."""
        return self.envelope.replay_element in (None, element)

    def pair(self, handler: str, element: int) -> Pair:
        """Return the pair of this delivery with `handler`."""
        env = self.envelope
        return Pair(env.app, env.tenant, env.id, self.run, handler, element)

    def line(self, handler: str) -> Line:
        """Return the line that this delivery's pair with `handler` stands in."""
        env = self.envelope
        return Line(env.app, env.tenant, self.topic, self.entity, handler, self.run)


class Failure(msgspec.Struct, frozen=True):
    """One failed attempt, as kept in parked and dead rows: no body, no secret."""

    at: datetime
    error: str
    message: str


class History(msgspec.Struct, frozen=True):
    """What a pair has been through before this run."""

    attempts: int = 0
    failures: tuple[Failure, ...] = ()
    calls: tuple[ApiCall, ...] = ()


class Done(msgspec.Struct, frozen=True):
    """The pair ended well."""

    at: datetime
    history: History


class Parked(msgspec.Struct, frozen=True):
    """The pair runs again at `due_at`; none where it waits behind an earlier one of its line."""

    at: datetime
    history: History
    reason: str
    due_at: datetime | None


class Dead(msgspec.Struct, frozen=True):
    """The pair is given up."""

    at: datetime
    history: History


class Cancelled(msgspec.Struct, frozen=True):
    """The pair is dropped with the replay that it belongs to: it has no row any more."""

    at: datetime
    history: History


Outcome = Done | Parked | Dead | Cancelled

KEPT = 20
"""Failures and API calls kept of one pair: the first ones tell the cause, the last ones the state."""


def kept(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the first and last few of `items`, so that a row stays small however often it was tried."""
    return items if len(items) <= KEPT else (*items[: KEPT // 2], *items[-KEPT // 2 :])
