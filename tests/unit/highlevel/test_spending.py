"""The budgets of one process: what the last owner left, what is to be saved, and that idle ones are forgotten."""

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from levelgate.highlevel import spending as spending_module
from levelgate.highlevel.budget import Allowance, Budget
from levelgate.highlevel.spending import SOON_S, Budgets
from levelgate.highlevel.wire import Answer
from schemas.ids import AppName, TenantId

APP = AppName("demo")
HERE, ELSEWHERE = TenantId("location-1"), TenantId("location-2")
ALLOWANCE = Allowance(calls=3, interval_s=60.0)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def answer(status=200, **headers):
    given = CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))
    return Answer(named="GET /x", status=status, headers=given, body=b"")


class Table:
    """What was saved, and how often it was asked for."""

    def __init__(self, saved=None):
        self.saved = saved
        self.asked = []

    async def load(self, _app, tenant):
        self.asked.append(tenant)
        await asyncio.sleep(0)
        return self.saved


def spent_up():
    budget = Budget(ALLOWANCE)
    for _ in range(3):
        assert budget.ask(0.0) == 0
        budget.ended(0.0, None)
    return budget.saved(0.0)


async def call(budgets, tenant=HERE, lane="live"):
    """Make a call; return how long it would have to wait instead."""
    spending = await budgets.of(APP, tenant)
    wait_s = await spending.ask(lane)
    if wait_s == 0:
        spending.ended(answer(X_RateLimit_Remaining="100"))
    return wait_s


async def test_what_the_last_owner_spent_is_known_before_the_first_call(clock):
    table = Table(spent_up())
    budgets = Budgets(ALLOWANCE, load=table.load, monotonic=clock)
    assert budgets.wait_s(APP, HERE, "live") == 0
    waits = await asyncio.gather(*(call(budgets) for _ in range(5)))
    assert waits == [60.25] * 5
    assert budgets.wait_s(APP, HERE, "live") == 60.25
    assert table.asked == [HERE]


async def test_a_tenant_is_taken_over_anew_after_each_claim(clock):
    table = Table()
    budgets = Budgets(ALLOWANCE, load=table.load, monotonic=clock)
    assert await call(budgets) == 0
    table.saved = spent_up()
    assert await call(budgets) == 0
    budgets.claimed()
    assert budgets.wait_s(APP, HERE, "live") == 0
    assert await call(budgets) > 0
    assert table.asked == [HERE, HERE]


async def test_who_waits_for_an_answer_to_tell_what_is_left_does_not_wait_for_long(clock, monkeypatch):
    monkeypatch.setattr(spending_module, "LEARNING_S", 0.01)
    budgets = Budgets(ALLOWANCE, monotonic=clock)
    spending = await budgets.of(APP, HERE)
    assert await spending.ask("live") == 0
    assert budgets.wait_s(APP, HERE, "live") == SOON_S
    assert await spending.ask("live") == SOON_S
    monkeypatch.undo()
    waiting = asyncio.create_task(spending.ask("live"))
    await asyncio.sleep(0)
    spending.ended(answer(X_RateLimit_Remaining="2"))
    assert await waiting == 0


async def test_a_429_that_names_a_time_closes_the_budget_for_as_long(clock):
    budgets = Budgets(ALLOWANCE, monotonic=clock)
    spending = await budgets.of(APP, HERE)
    await spending.ask("live")
    spending.ended(answer(429, Retry_After="40"))
    assert await spending.ask("live") == 40


async def test_what_was_spent_is_saved_once(clock):
    budgets = Budgets(ALLOWANCE, monotonic=clock)
    await call(budgets)
    assert budgets.changes([(APP, ELSEWHERE)]) == []
    (change,) = budgets.changes([(APP, HERE), (APP, ELSEWHERE)])
    assert (change.whose, change.saved.left) == ((APP, HERE), 2)
    # Not written after all: it is still to be saved.
    assert len(budgets.changes([(APP, HERE)])) == 1
    await call(budgets)
    budgets.saved([change])
    (later,) = budgets.changes([(APP, HERE)])
    budgets.saved([later])
    assert budgets.changes([(APP, HERE)]) == []


async def test_what_was_known_before_a_claim_does_not_overwrite_what_another_owner_saved(clock):
    budgets = Budgets(ALLOWANCE, monotonic=clock)
    await call(budgets)
    budgets.claimed()
    assert budgets.changes([(APP, HERE)]) == []
    await call(budgets)
    assert len(budgets.changes([(APP, HERE)])) == 1


@pytest.mark.parametrize("is_saved", [True, False])
async def test_idle_budgets_that_are_saved_are_forgotten_beyond_a_number(clock, is_saved):
    budgets = Budgets(ALLOWANCE, most=10, monotonic=clock)
    for number in range(100):
        tenant = TenantId(f"location-{number}")
        await call(budgets, tenant)
        if is_saved:
            budgets.saved(budgets.changes([(APP, tenant)]))
    assert len(budgets) == 100
    clock.now += 61
    for number in range(100, 200):
        await budgets.of(APP, TenantId(f"location-{number}"))
    assert len(budgets) <= (110 if is_saved else 200)
    assert (len(budgets) == 200) is not is_saved
