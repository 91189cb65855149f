"""Brings a tenant's parked pairs back as soon as it is reconnected, instead of when their time comes.

They wait because the tenant has no usable installation; that changes in another process as a rule: the receiver stores
a grant, another worker an INSTALL. So the owner of a partition number looks for installations that changed lately.

A look makes pairs due earlier than they were, and does nothing else: to run a parked pair early is never wrong, so it
needs no fence. Each change is looked at for some seconds: one that commits late is found, and so is the pair that was
being parked when the grant came.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from levelgate.postgres import POSTGRES_AWAY
from processors.sql import Pool, fetch, queries
from schemas.logs import get_logger

log = get_logger(__name__)

_SQL = queries(__file__)

_LOOK_S = 1.0
_OVERLAP_S = 10.0
_EVER_S = 1e9
"""Thirty years: all that ever changed."""
_QUERY_TIMEOUT_S = 30.0
_AT_ONCE = 100
"""Pairs of one tenant that become due at once: as many calls as the vendor allows in ten seconds."""
_PER_S = 20.0
"""How many follow in each second: twice what the vendor allows, so that its limit and not this one holds them back."""


class Reconnects:
    """Looks for reconnected tenants of the active numbers; `run` is its task."""

    def __init__(self, pool: Pool, *, group: str, active: Callable[[], dict[int, int]]) -> None:
        self._pool = pool
        self._group = group
        self._active = active
        self._seen: dict[int, int] = {}
        self._looked_at = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except POSTGRES_AWAY as error:
                log.warning("installations_unreadable", error=type(error).__name__)
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once at what changed since the last look. Raises what Postgres raises."""
        active = self._active()
        if not active:
            return
        # Of a number that was claimed since, nobody may have looked for long.
        is_known = active.items() <= self._seen.items()
        now = time.monotonic()
        within_s = now - self._looked_at + _OVERLAP_S if is_known else _EVER_S
        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            released = await fetch(
                _SQL.release_disconnected(
                    self._pool,
                    group_id=self._group,
                    partitions=list(active),
                    within_s=within_s,
                    now=datetime.now(UTC),
                    at_once=_AT_ONCE,
                    per_s=_PER_S,
                )
            )
        self._seen, self._looked_at = active, now
        if released:
            tenants = {(row["app"], row["tenant"]) for row in released}
            log.info("tenants_reconnected", tenants=len(tenants), pairs=len(released))
