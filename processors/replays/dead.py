"""Reads dead letters for a replay, each for the handler that gave up; their rows stay as they are."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import msgspec

from processors.pairs import Record
from processors.replays.cursor import Cursor, DeadKey
from processors.replays.selection import Selection
from processors.sql import Pool, fetch, queries
from schemas.envelope import Headers, from_headers

_SQL = queries(__file__)

_BATCH = 200
_QUERY_TIMEOUT_S = 30.0


async def freeze_dead(pool: Pool) -> Cursor:
    """Return a cursor on what is dead by now."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S):
        return Cursor(died_before=await _SQL.clock(pool))


class DeadSource:
    """The live run's dead letters that a selection means, in the order of their topics: an entity's stay in order."""

    lost = 0

    def __init__(self, pool: Pool, selection: Selection, cursor: Cursor) -> None:
        self._pool = pool
        self._selection = selection
        self._cursor = cursor
        self._given: DeadKey | None = None

    @property
    def cursor(self) -> Cursor:
        """What is left, from the first dead letter on that was not said to be `passed`."""
        return self._cursor

    def passed(self) -> None:
        """Take note that the last record yielded needs no second reading."""
        if self._given is not None:
            self._cursor = msgspec.structs.replace(self._cursor, after=self._given)
            self._given = None

    async def read(self) -> AsyncGenerator[Record | None, None]:
        """Yield a record a dead pair; None now and then, so that the reader can do other things."""
        while rows := await self._batch():
            for row in rows:
                self._given = DeadKey(
                    row["topic"], row["partition"], row["record_offset"], row["handler"], row["element"]
                )
                headers: Headers = msgspec.msgpack.decode(row["headers"], type=list[tuple[str, bytes]])
                envelope = from_headers(headers)
                if self._selection.fits(envelope):
                    envelope = msgspec.structs.replace(
                        envelope, replay_handlers=(row["handler"],), replay_element=row["element"]
                    )
                    yield Record(envelope, row["topic"], row["partition"], row["record_offset"], headers, row["body"])
                self.passed()
            yield None

    async def _batch(self) -> list[asyncpg.Record]:
        chosen = self._selection
        query = _SQL.dead_after(
            self._pool,
            died_before=self._cursor.died_before,
            types=list(chosen.types) or None,
            tenants=list(chosen.tenants) or None,
            apps=list(chosen.apps) or None,
            deliveries=list(chosen.deliveries) or None,
            handlers=list(chosen.handlers) or None,
            most=_BATCH,
            **msgspec.structs.asdict(self._cursor.after),
        )
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            return await fetch(query)
