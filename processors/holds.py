"""Tenants that have no budget now: their parked pairs are not worth taking before its time. Pure, in memory.

Learned from what calls were answered; forgotten with the process, which costs a call or a question to the budget each.
"""

from datetime import datetime

from processors.parking import TenantKey


class Holds:
    """Until when each tenant waits: all of it, or its replays alone, which have a smaller share of the budget."""

    def __init__(self) -> None:
        self._until: dict[TenantKey, datetime] = {}
        self._replays_until: dict[TenantKey, datetime] = {}

    def hold(self, tenant: TenantKey, *, is_replay: bool, until: datetime) -> None:
        """Note that a tenant's limits are spent until then; of two times the later one counts."""
        held = self._replays_until if is_replay else self._until
        held[tenant] = max(until, held.get(tenant, until))

    def tenants(self, now: datetime) -> set[TenantKey]:
        """Return the tenants that wait with all they have."""
        return _left(self._until, now)

    def replays(self, now: datetime) -> set[TenantKey]:
        """Return the tenants whose replays wait."""
        return _left(self._replays_until, now)


def _left(held: dict[TenantKey, datetime], now: datetime) -> set[TenantKey]:
    for tenant in [tenant for tenant, until in held.items() if until <= now]:
        del held[tenant]
    return set(held)
