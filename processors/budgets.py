"""Budgets in Postgres: written with the ledger's flush, read by a tenant's next owner and by `levelgate budget show`.

Decides nothing. Durations from here to the table become times of the database's clock, and the other way round.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import msgspec

from levelgate.highlevel.budget import Saved
from levelgate.highlevel.day import SavedDay, Spent
from levelgate.highlevel.spending import Budgets, Change, Whose
from levelgate.postgres import POSTGRES_AWAY
from processors.ledger import Beside
from processors.sql import Connection, Pool, fetch, queries
from schemas.ids import AppName, TenantId
from schemas.logs import get_logger

log = get_logger(__name__)

_SQL = queries(__file__)

_LOAD_TIMEOUT_S = 5.0


class BudgetTable:
    """The saved budgets of one group: a fleet apart has its own share of HighLevel's limits."""

    def __init__(self, pool: Pool, *, group: str) -> None:
        self._pool = pool
        self._group = group

    async def load(self, app: AppName, tenant: TenantId) -> Saved | None:
        """Return what the last owner saved. None also where Postgres is away: the vendor's answers tell it then."""
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_S):
                row = await _SQL.load_budget(self._pool, group_id=self._group, app=app, tenant=tenant)
        except POSTGRES_AWAY as error:
            log.warning("budget_unreadable", error=type(error).__name__)
            return None
        return None if row is None else _saved(row)

    def saver(self, budgets: Budgets) -> Beside:
        """Return what the ledger is to call within a flush's transaction, with the tenants that it holds.

        It writes those that were spent of since they were saved, and returns what is to be called after the commit.
        """

        async def save(connection: Connection, tenants: Collection[Whose]) -> Callable[[], None]:
            changes = budgets.changes(tenants)
            if changes:
                await _SQL.save_budgets(connection, group_id=self._group, **_columns(changes))
            return lambda: budgets.saved(changes)

        return save


async def list_budgets(pool: Pool, *, app: str | None, tenant: str | None) -> list[dict[str, Any]]:
    """Return saved budgets as `shown`, each with how many pairs wait for it."""
    return [shown(dict(row)) for row in await fetch(_SQL.list_budgets(pool, app=app, tenant=tenant))]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `list_budgets` as it is now: what is over by `now` is full again, or None where unknown."""
    now: datetime = row.pop("now")
    spent = msgspec.json.decode(row.pop("day_spent"), type=list[Spent])
    by_lane = {lane: sum(getattr(each, lane) for each in spent) for lane in ("live", "retry", "replay")}
    is_full = row["interval_until"] <= now
    # HighLevel's word about a day that has ended says nothing of the next one: the first answer will.
    is_over = row["day_until"] is not None and row["day_until"] <= now
    return (
        {"group": row.pop("group_id")}
        | row
        | {
            "interval_left": row["interval_limit"] if is_full else row["interval_left"],
            "interval_until": None if is_full else row["interval_until"],
            "day_left": None if is_over else row["day_left"],
            "day_until": None if is_over else row["day_until"],
            "day_spent": by_lane,
        }
    )


def _saved(row: Any) -> Saved:  # noqa: ANN401 -- a row of load_budget
    elapsed_s = max(0.0, row["saved_s_ago"])
    spent = msgspec.json.decode(row["day_spent"], type=tuple[Spent, ...])
    return Saved(
        limit=row["interval_limit"],
        interval_s=row["interval_s"],
        left=row["interval_left"],
        full_in_s=row["full_in_s"],
        told_s_ago=row["told_s_ago"],
        day=SavedDay(
            limit=row["day_limit"],
            left=row["day_left"],
            until_s=row["day_until_s"],
            spent=tuple(msgspec.structs.replace(each, age_s=each.age_s + elapsed_s) for each in spent),
        ),
    )


def _columns(changes: Collection[Change]) -> dict[str, list[Any]]:
    saved = [change.saved for change in changes]
    days = [each.day for each in saved]
    return {
        "apps": [app for (app, _) in (change.whose for change in changes)],
        "tenants": [tenant for (_, tenant) in (change.whose for change in changes)],
        "interval_limits": [each.limit for each in saved],
        "intervals_s": [each.interval_s for each in saved],
        "interval_lefts": [each.left for each in saved],
        "full_in_s": [each.full_in_s for each in saved],
        "day_limits": [day.limit for day in days],
        "day_lefts": [day.left for day in days],
        "day_until_s": [day.until_s for day in days],
        "day_spents": [msgspec.json.encode(day.spent).decode() for day in days],
        "told_s_ago": [each.told_s_ago for each in saved],
    }
