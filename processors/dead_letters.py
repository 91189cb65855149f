"""Dead letters: pairs that were given up, kept with their whole history. Written by the ledger, read here."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from processors.pairs import Pair
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


async def list_dead(
    pool: Pool,
    *,
    app: str | None = None,
    tenant: str | None = None,
    type_: str | None = None,
    handler: str | None = None,
    most: int = 100,
) -> list[dict[str, Any]]:
    """Return dead pairs for a listing, the newest first; times are aware datetimes."""
    rows = await fetch(_SQL.list_dead(pool, app=app, tenant=tenant, type=type_, handler=handler, most=most))
    return [dict(row) | {"errors": msgspec.json.decode(row["errors"])} for row in rows]


async def count_dead(pool: Pool) -> int:
    """Return how many pairs are dead."""
    return int(await _SQL.count_dead(pool))
