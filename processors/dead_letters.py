"""Dead letters: pairs that were given up, kept with their whole history. Written by the ledger, read here."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from processors.filters import ALL_PAIRS, PairFilter
from processors.pairs import Pair
from processors.records import ENVELOPE_HANDLER
from processors.redrive import DeadPair
from processors.sql import Pool, fetch, queries
from schemas.envelope import Headers

_SQL = queries(__file__)

_QUERY_TIMEOUT_S = 30.0


class Unpublished(msgspec.Struct, frozen=True):
    """A dead pair that the dead letter topic has not seen."""

    pair: Pair
    attempts: int
    errors: str
    died_at: datetime
    headers: Headers
    body: bytes


class DeadLetters:
    """The dead pairs of one worker's partition numbers."""

    def __init__(self, pool: Pool, *, group: str) -> None:
        self._pool = pool
        self._group = group

    async def unpublished(self, numbers: Collection[int], *, most: int) -> list[Unpublished]:
        """Return dead pairs that outside consumers have not been told of, the oldest first."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            rows = await fetch(_SQL.unpublished(self._pool, group_id=self._group, partitions=list(numbers), most=most))
        return [
            Unpublished(
                Pair(r["app"], r["tenant"], r["delivery"], r["run"], r["handler"], r["element"]),
                r["attempts"],
                r["errors"],
                r["died_at"],
                msgspec.msgpack.decode(r["headers"], type=list[tuple[str, bytes]]),
                r["body"],
            )
            for r in rows
        ]

    async def mark_published(self, letters: Sequence[Unpublished]) -> None:
        """Note that the topic has these; one that died anew meanwhile is published again."""
        pairs = [letter.pair for letter in letters]
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            await _SQL.mark_published(
                self._pool,
                apps=[p.app for p in pairs],
                tenants=[p.tenant for p in pairs],
                deliveries=[p.delivery for p in pairs],
                runs=[p.run for p in pairs],
                handlers=[p.handler for p in pairs],
                elements=[p.element for p in pairs],
                died_ats=[letter.died_at for letter in letters],
            )


async def list_dead(pool: Pool, chosen: PairFilter = ALL_PAIRS, *, most: int = 100) -> list[dict[str, Any]]:
    """Return dead pairs for a listing, the newest first; times are aware datetimes."""
    rows = await fetch(_SQL.list_dead(pool, most=most, **chosen.parameters()))
    return [dict(row) | {"errors": msgspec.json.decode(row["errors"])} for row in rows]


async def choose_dead(pool: Pool, chosen: PairFilter) -> list[DeadPair]:
    """Return all dead pairs that fit a filter, the oldest first: what `redrive` and `discard` take."""
    return [
        DeadPair(
            Pair(r["app"], r["tenant"], r["delivery"], r["run"], r["handler"], r["element"]),
            type=r["type"],
            error=r["error"],
            group=r["group_id"],
            partition=r["partition"],
            died_at=r["died_at"],
            can_run=r["is_held"] and r["handler"] != ENVELOPE_HANDLER,
        )
        for r in await fetch(_SQL.choose_dead(pool, **chosen.parameters()))
    ]


async def show_dead(
    pool: Pool, delivery: str, *, app: str | None = None, handler: str | None = None
) -> list[dict[str, Any]]:
    """Return all that is kept of a delivery's dead pairs, discarded ones too; `body` is None where it is gone."""
    return [
        dict(row)
        | {
            "errors": msgspec.json.decode(row["errors"]),
            "calls": msgspec.json.decode(row["calls"]),
            "headers": _texts(row["headers"]) if row["headers"] is not None else None,
        }
        for row in await fetch(_SQL.show_dead(pool, delivery=delivery, app=app, handler=handler))
    ]


def _texts(headers: bytes) -> list[tuple[str, str]]:
    return [
        (name, value.decode(errors="replace"))
        for name, value in msgspec.msgpack.decode(headers, type=list[tuple[str, bytes]])
    ]


async def count_dead(pool: Pool) -> int:
    """Return how many pairs are dead and not discarded."""
    return int(await _SQL.count_dead(pool))
