"""The table of replays: one row each, and the lease of the one process that publishes it.

The lease is time in the row, by the database's clock, not a lock of the session: it works through a pooler, and a
frozen publisher that wakes up is refused by its next save. It is renewed by every save, once a second.
"""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from processors.replays.cursor import Cursor
from processors.replays.selection import Selection
from processors.replays.states import State, Step, after, shown, sources
from processors.sql import Pool, fetch, queries
from schemas.errors import LevelgateError

_SQL = queries(__file__)

LEASE_S = 15.0
_QUERY_TIMEOUT_S = 15.0


class UnknownReplay(LevelgateError):
    """There is no replay of this id."""


class Busy(LevelgateError):
    """Another process publishes it, or did until a moment ago."""


class Overtaken(LevelgateError):
    """Another process publishes it by now: this one was too slow."""


class Replay(msgspec.Struct, frozen=True):
    """One replay as it stands."""

    id: str
    state: State
    has_publisher: bool
    """Whether a process holds the lease."""
    selection: Selection
    cursor: Cursor
    rate: float
    """Deliveries a second, at most."""
    total: int
    """How many fitted when it began."""
    published: int
    skipped: int
    """Too large for the topic, although another limit once let them in."""
    lost: int
    """Records that retention took before they were read, whether they would have fitted or not."""
    last_error: str | None
    waits_for: str | None
    """Why its publisher does not go on, as it last said."""
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None

    @property
    def shown(self) -> str:
        """The state as a person is told it: `interrupted` where nobody publishes what is running."""
        return shown(self.state, has_publisher=self.has_publisher)


class Outcomes(msgspec.Struct, frozen=True):
    """What became of a replay's pairs so far."""

    done: int = 0
    parked: int = 0
    dead: int = 0


class ParkedTenant(msgspec.Struct, frozen=True):
    """What of a replay is parked of one tenant."""

    app: str
    tenant: str
    reasons: dict[str, int]
    """Reason → pairs; the most first, and last those that only wait behind others."""

    @property
    def pairs(self) -> int:
        """All of them."""
        return sum(self.reasons.values())

    def __str__(self) -> str:
        """Return it for a person: `location-1 (12 disconnected, 3 behind)`."""
        return f"{self.tenant} ({', '.join(f'{pairs} {reason}' for reason, pairs in self.reasons.items())})"


def new_id(now: datetime) -> str:
    """Return an id that sorts by time and can be said over the telephone: `r-20261124-153000-ab12`."""
    return f"r-{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


async def create(
    pool: Pool,
    *,
    replay_id: str,
    publisher: str,
    selection: Selection,
    cursor: Cursor,
    rate: float,
    total: int,
) -> Replay:
    """Add a replay that `publisher` is about to publish."""
    return await _one(
        _SQL.create(
            pool,
            id=replay_id,
            publisher=publisher,
            selection=msgspec.json.encode(selection).decode(),
            cursor=msgspec.json.encode(cursor).decode(),
            rate=rate,
            total=total,
            lease_s=LEASE_S,
        )
    )


async def find(pool: Pool, replay_id: str) -> Replay:
    """Return a replay. Raises UnknownReplay."""
    return await _one(_SQL.find(pool, id=replay_id))


async def take(
    pool: Pool, replay_id: str, publisher: str, *, rate: float | None = None, not_tenants: Sequence[str] = ()
) -> Replay:
    """Become the publisher of an interrupted or paused replay, which leaves out `not_tenants` too from now on.

    Raises UnknownReplay, NotNow, Busy.
    """
    after((await find(pool, replay_id)).state, "resume")
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        rows = await fetch(
            _SQL.take(
                pool,
                id=replay_id,
                publisher=publisher,
                rate=rate,
                not_tenants=list(not_tenants),
                lease_s=LEASE_S,
                sources=list(sources("resume")),
            )
        )
    if not rows:
        after((await find(pool, replay_id)).state, "resume")
        raise Busy(
            f"{replay_id} is published by another process; if that was killed or paused just now, "
            f"try again in {LEASE_S:g} s"
        )
    return _replay(rows[0])


async def save(
    pool: Pool,
    replay_id: str,
    publisher: str,
    *,
    cursor: Cursor,
    published: int,
    skipped: int,
    lost: int,
    waits_for: str | None,
) -> State:
    """Write how far it has come and renew the lease; return the state, which another process may have changed.

    Raises Overtaken, and then nothing was written.
    """
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        state: State | None = await _SQL.save(
            pool,
            id=replay_id,
            publisher=publisher,
            cursor=msgspec.json.encode(cursor).decode(),
            published=published,
            skipped=skipped,
            lost=lost,
            waits_for=waits_for,
            lease_s=LEASE_S,
        )
    if state is None:
        raise Overtaken(
            f"{replay_id} is published by another process by now: `levelgate replay status {replay_id}` shows it"
        )
    return state


async def release(pool: Pool, replay_id: str, publisher: str, *, error: str | None) -> None:
    """Give the lease up, so that `take` is possible at once."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        await _SQL.release(pool, id=replay_id, publisher=publisher, error=error)


async def change(pool: Pool, replay_id: str, step: Step) -> Replay:
    """Pause, finish or cancel a replay, whoever publishes it. Raises UnknownReplay, NotNow."""
    while True:
        before = (await find(pool, replay_id)).state
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.change(pool, id=replay_id, before=before, after=after(before, step)))
        if rows:
            return _replay(rows[0])


async def list_replays(pool: Pool, *, most: int) -> list[Replay]:
    """Return the newest replays, the newest first."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        return [_replay(row) for row in await fetch(_SQL.list_replays(pool, most=most))]


async def outcomes(pool: Pool, ids: Sequence[str]) -> dict[str, Outcomes]:
    """Return what became of the pairs of some replays."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        rows = await fetch(_SQL.outcomes(pool, ids=list(ids)))
    return {row["id"]: Outcomes(row["done"], row["parked"], row["dead"]) for row in rows}


async def parked_by_tenant(pool: Pool, replay_id: str) -> list[ParkedTenant]:
    """Return what of a replay is parked, the tenants with the most first."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        rows = await fetch(_SQL.parked_by_tenant(pool, id=replay_id))
    reasons: dict[tuple[str, str], dict[str, int]] = {}
    for row in sorted(rows, key=lambda row: (row["reason"] == "behind", -row["pairs"])):
        reasons.setdefault((row["app"], row["tenant"]), {})[row["reason"]] = row["pairs"]
    found = [ParkedTenant(app, tenant, counts) for (app, tenant), counts in reasons.items()]
    return sorted(found, key=lambda each: -each.pairs)


async def cancelled(pool: Pool) -> frozenset[str]:
    """Return the ids of cancelled replays of which something may still come."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        return frozenset(row["id"] for row in await fetch(_SQL.cancelled(pool)))


async def _one(rows: Any) -> Replay:  # noqa: ANN401 -- aiosql's
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        found = await fetch(rows)
    if not found:
        raise UnknownReplay("no replay has this id: `levelgate replay status` lists them")
    return _replay(found[0])


def _replay(row: Any) -> Replay:  # noqa: ANN401 -- a row of the table
    fields = {name: row[name] for name in Replay.__struct_fields__}
    fields["selection"] = msgspec.json.decode(row["selection"], type=Selection)
    fields["cursor"] = msgspec.json.decode(row["cursor"], type=Cursor)
    return Replay(**fields)
