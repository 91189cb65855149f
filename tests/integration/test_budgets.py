"""The table of budgets: what one owner writes with the ledger, the next one reads, and the command shows."""

import json
import time

import pytest

from levelgate.highlevel.budget import Allowance
from levelgate.highlevel.rate_limits import RateLimits
from levelgate.highlevel.spending import Budgets
from processors.budgets import BudgetTable
from schemas.ids import AppName, TenantId
from tests.support.commands import levelgate

APP = AppName("demo")
TENANT = TenantId("location-1")
ALLOWANCE = Allowance(calls=100, interval_s=10.0, daily_calls=1000)


async def shown(settings, *arguments):
    code, output, errors = await levelgate(settings, "budget", "show", *arguments)
    assert code == 0, errors
    return output


async def spent(*limits, lane="live"):
    """Budgets of a process that has made calls for a tenant, answered so."""
    budgets = Budgets(ALLOWANCE)
    spending = await budgets.of(APP, TENANT)
    for told in limits:
        assert await spending.ask(lane) == 0
        spending.budget.ended(time.monotonic(), told)
    return budgets


async def save(table, pool, budgets):
    async with pool.acquire() as connection, connection.transaction():
        written = await table.saver(budgets)(connection, {(APP, TENANT)})
    written()


async def test_the_next_owner_reads_what_the_last_one_wrote(pool):
    table = BudgetTable(pool, group="workers")
    assert await table.load(APP, TENANT) is None
    budgets = await spent(None, lane="replay")
    await save(table, pool, budgets)
    assert budgets.changes([(APP, TENANT)]) == []

    saved = await table.load(APP, TENANT)
    assert saved is not None
    assert (saved.limit, saved.interval_s, saved.left, saved.told_s_ago) == (100, 10.0, 99, None)
    assert saved.full_in_s == pytest.approx(10.25, abs=5)
    assert (saved.day.limit, saved.day.left, saved.day.until_s) == (1000, 999, None)
    assert [(hour.live, hour.retry, hour.replay) for hour in saved.day.spent] == [(0, 0, 1)]
    # A fleet apart has its own share.
    assert await BudgetTable(pool, group="others").load(APP, TENANT) is None


async def test_what_the_vendor_told_is_written_over_what_was_there(pool):
    table = BudgetTable(pool, group="workers")
    await save(table, pool, await spent(None))
    # Any number that a header can hold: a row that can't be written would hold up the ledger.
    told = RateLimits(limit=10**15 - 1, remaining=7, daily_limit=10**15 - 1, daily_remaining=10**15 - 2)
    await save(table, pool, await spent(told))

    saved = await table.load(APP, TENANT)
    assert saved is not None
    assert (saved.limit, saved.left) == (10**15 - 1, 7)
    assert (saved.day.limit, saved.day.left) == (10**15 - 1, 10**15 - 2)
    assert saved.told_s_ago is not None


async def test_the_command_shows_what_is_left_and_says_so_where_nothing_was_saved(settings, pool):
    assert "no worker has saved a budget yet" in await shown(settings)
    await save(BudgetTable(pool, group="workers"), pool, await spent(None, lane="retry"))

    (row,) = json.loads(await shown(settings, "--tenant", TENANT, "--json"))
    assert (row["group"], row["app"], row["tenant"], row["waiting"]) == ("workers", APP, TENANT, 0)
    assert (row["day_left"], row["day_limit"], row["day_until"]) == (999, 1000, None)
    assert row["day_spent"] == {"live": 0, "retry": 1, "replay": 0}
    assert "999 of 1000" in await shown(settings)
    assert json.loads(await shown(settings, "--app", "another", "--json")) == []
