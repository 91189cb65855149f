"""What the demo and the burst ask the database."""

from collections.abc import Collection

from processors.sql import Pool, fetch, queries
from schemas.ids import AppName

_SQL = queries(__file__)


async def mirror_rows(pool: Pool, app: AppName) -> dict[str, int]:
    """Return how many entities the mirror tables have, by kind."""
    return {row["kind"]: row["rows"] for row in await fetch(_SQL.mirror_rows(pool, app=app))}


async def recorded_calls(pool: Pool, deliveries: Collection[str], *, method: str, path: str) -> int:
    """Return how many API calls are recorded with these deliveries; `path` is a pattern of LIKE."""
    return int(await _SQL.recorded_calls(pool, ids=list(deliveries), method=method, path=path))
