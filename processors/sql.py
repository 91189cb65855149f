"""The worker's named queries: each module keeps its SQL in a `.sql` file beside it, read by aiosql."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import aiosql
import asyncpg

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


def queries(module_file: str) -> Any:  # noqa: ANN401 -- its attributes are the names in the file
    """Return the queries of the `.sql` file beside a module, given the module's `__file__`."""
    return aiosql.from_path(Path(module_file).with_suffix(".sql"), "asyncpg")


async def fetch(rows: AsyncIterator[Any]) -> list[asyncpg.Record]:
    """Await all rows of an aiosql selection."""
    return [row async for row in rows]
