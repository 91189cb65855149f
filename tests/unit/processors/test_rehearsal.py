"""Rehearsals without a database: order, reads and their memory, limits, and what a version of a handler is called."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from levelgate import on
from levelgate.highlevel.client import HighLevelClient
from processors.registry import Registry, handler_of
from processors.rehearsal import Rehearsal, in_order, place
from processors.rehearsed_calls import Reads, RehearsedClient
from schemas.errors import ApiNotFound, RateLimited
from schemas.ids import AppName, TenantId
from schemas.operations import OPERATIONS
from schemas.settings import Kafka, Settings
from tests.support.deliveries import delivery
from tests.support.keys import TOKEN_KEYS

APP, TENANT = AppName("demo"), TenantId("location-1")
GET, SEARCH = OPERATIONS["contacts.get-contact"], OPERATIONS["contacts.search-contacts-advanced"]
CREATE = OPERATIONS["contacts.create-contact"]


class Vendor(HighLevelClient):
    """Answers each call by the next of its answers, and counts the calls."""

    def __init__(self, *answers) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def request(self, *_given, **_more):
        self.asked += 1
        await asyncio.sleep(0)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def get(client, contact="c"):
    return client.request(APP, TENANT, GET, path={"contactId": contact})


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 4))
async def test_results_come_in_order_and_no_more_run_at_once_than_may(turns, at_once):
    running, most = 0, 0
    told: list[tuple[int, int]] = []

    async def work(each):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(each[1]):
            await asyncio.sleep(0)
        running -= 1
        return each

    async def records():
        for each in enumerate(turns):
            yield each

    await in_order(records(), work, told.append, at_once=at_once)

    assert told == list(enumerate(turns))
    assert most <= at_once


async def test_what_fails_ends_the_others_and_is_raised_as_it_is():
    ended = []

    async def work(each):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(each)

    async def records():
        yield 1
        yield 2
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await in_order(records(), work, print, at_once=3)
    assert ended == [1, 2]


async def test_a_read_is_made_once_and_each_gets_an_answer_of_its_own():
    vendor = Vendor({"contact": {"id": "c"}}, {"contact": {"id": "d"}})
    reads = Reads(vendor)
    old, new = RehearsedClient(reads), RehearsedClient(reads)

    one, other = await asyncio.gather(get(old), get(new))
    one.clear()

    assert other == await get(new) == {"contact": {"id": "c"}}
    assert await get(new, "d") == {"contact": {"id": "d"}}
    assert (vendor.asked, reads.made, reads.remembered) == (2, 2, 2)
    assert [(call.call.named, call.is_made) for call in new.calls] == [
        ("GET /contacts/c", True),
        ("GET /contacts/c", True),
        ("GET /contacts/d", True),
    ]


async def test_a_refusal_is_the_same_for_both_and_a_limit_is_asked_again():
    vendor = Vendor(RateLimited("later"), ApiNotFound("gone"))
    client = RehearsedClient(Reads(vendor))

    with pytest.raises(RateLimited):
        await get(client)
    assert client.was_limited
    for _ in range(2):
        with pytest.raises(ApiNotFound):
            await get(client)
    assert vendor.asked == 2


async def test_what_would_change_something_is_not_made_and_what_only_reads_may_be():
    vendor = Vendor({"contacts": []})
    may_read, may_not = RehearsedClient(Reads(vendor)), RehearsedClient(None)

    for client in (may_read, may_not):
        assert await client.request(APP, TENANT, CREATE, json={"locationId": TENANT}) == {}
        assert await client.request(APP, TENANT, SEARCH, json={}) in ({}, {"contacts": []})

    assert vendor.asked == 1
    assert [(call.is_read, call.is_made) for call in may_read.calls] == [(False, False), (True, True)]
    assert [(call.is_read, call.is_made) for call in may_not.calls] == [(False, False), (True, False)]


async def test_a_run_that_meets_the_apis_limits_is_run_again_when_they_allow():
    seen = []

    @on("ContactCreate", name="greet")
    async def greet(event, ctx):
        seen.append((await ctx.api.contacts.get("c"), ctx.delivery.replay_id, ctx.delivery.attempt))
        await ctx.api.contacts.get("d")

    soon = RateLimited("soon", after=timedelta(milliseconds=1))
    tomorrow = RateLimited("tomorrow", after=timedelta(days=1))
    vendor = Vendor({"contact": {"id": "c"}}, soon, {"contact": {"id": "d"}}, tomorrow)
    rehearsal = rehearsing(Reads(vendor))
    registry = Registry([handler_of(greet, built_in=False)])

    (pair,) = (await rehearsal.rehearse(delivery(Kafka()), registry)).pairs
    assert (pair.outcome.state, vendor.asked, len(pair.calls)) == ("done", 3, 2)
    assert seen == [({"id": "c"}, "rehearsal", 1)] * 2

    @on("ContactCreate", name="other")
    async def other(event, ctx):
        await ctx.api.contacts.get("e")

    (pair,) = (await rehearsal.rehearse(delivery(Kafka()), Registry([handler_of(other, built_in=False)]))).pairs
    assert (pair.outcome.state, pair.outcome.reason, pair.outcome.error) == ("retry", "waiting", tomorrow)


async def test_a_handlers_own_policy_and_timeout_hold():
    @on("ContactCreate", name="slow", timeout=timedelta(milliseconds=5), attempts=1)
    async def slow(event, ctx):
        await asyncio.Event().wait()

    (pair,) = (await rehearsing(None).rehearse(delivery(Kafka()), Registry([handler_of(slow, built_in=False)]))).pairs

    assert (pair.outcome.state, pair.outcome.reason, type(pair.outcome.error)) == ("dead", "attempts", TimeoutError)
    assert not pair.is_guess


async def test_a_body_that_is_no_event_would_be_dead_and_quarantined_ones_have_no_handlers():
    @on("ContactCreate", name="greet")
    async def greet(event, ctx): ...

    registry = Registry([handler_of(greet, built_in=False)])
    (pair,) = (await rehearsing(None).rehearse(delivery(Kafka(), body=[]), registry)).pairs

    assert (pair.outcome.state, pair.outcome.reason) == ("dead", "permanent")
    assert (await rehearsing(None).rehearse(delivery(Kafka(), reason="too_old"), registry)).pairs == ()


async def test_another_version_in_another_module_has_the_same_idempotency_key_and_order():
    def version(module, *names):
        handlers = []
        for name in names:

            async def function(event, ctx):
                caller = ctx.api.contacts._caller  # noqa: SLF001 -- the API has no method that writes yet
                await caller.call("contacts.create-contact", json={"key": ctx.idempotency_key})

            function.__module__, function.__qualname__ = module, name
            handlers.append(handler_of(on("ContactCreate")(function), built_in=False))
        return Registry(handlers)

    old, new = version("my_app.v1", "greet", "note"), version("my_app.v2", "note", "greet")

    compared = await rehearsing(None).compare(delivery(Kafka()), old, new)

    assert [place(handler) for handler in old.handlers] == ["greet", "note"]
    assert compared.is_equal
    keys = [pair.calls[0].call.json["key"] for pair in compared.old]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("died", "run"),
    [
        ("my_app.v1.greet", ["my_app.v2.greet"]),
        ("my_app.v2.greet", ["my_app.v2.greet"]),
        ("named", ["named"]),
        ("my_app.v1.named", ["named"]),
        ("my_app.v1.regreet", []),
        ("processors.handlers.contact.greet", []),
    ],
)
async def test_what_died_of_a_handler_is_for_the_one_in_its_place(died, run):
    async def greet(event, ctx): ...

    async def other(event, ctx): ...

    greet.__module__, greet.__qualname__ = "my_app.v2", "greet"
    other.__module__, other.__qualname__ = "my_app.v2.more", "greet"
    named = on("ContactCreate", name="named")(other)
    new = Registry([handler_of(each, built_in=False) for each in (on("ContactCreate")(greet), named)])
    record = delivery(Kafka(), replay_handlers=(died,))

    assert [pair.handler for pair in (await rehearsing(None).rehearse(record, new)).pairs] == run


def rehearsing(reads):
    """A rehearsal whose handlers use no database."""
    settings = Settings.model_construct(apps={}, token_keys=SecretStr(TOKEN_KEYS))
    nothing: Any = None
    return Rehearsal(nothing, nothing, settings, reads)
