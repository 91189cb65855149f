"""The test kit: its samples, its scripted API, and that its verdicts are the worker's."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from levelgate import Permanent, Retry, on, testing
from levelgate.events import AppointmentCreate, ContactCreate, ContactDelete, SaasPlanCreate
from schemas.errors import ApiNotFound, ApiUnavailable, InstallationMissing, Misconfigured, RateLimited, WrongShape
from schemas.samples import samples


def handler(body=None, *types, **policy):
    """A handler that does `body`, which gets the context."""

    @on(*(types or (ContactCreate,)), **policy)
    async def fresh(event, ctx):
        if body is not None:
            await body(ctx)

    return fresh


async def outcome(body, *, answers=None, policy=None, **rest):
    event = testing.sample(ContactCreate)
    ctx = testing.context(event, answers=answers, **rest)
    return await testing.run(handler(body, **policy or {}), event, ctx), ctx


def raising(error):
    async def body(ctx):
        raise error

    return body


@pytest.mark.parametrize("each", samples(), ids=lambda each: each.name)
def test_every_documented_body_can_be_had_as_an_event(each):
    event = testing.sample(each.name)

    assert event.wire == each.type
    assert event.raw == (each.body[0] if isinstance(each.body, list) else each.body)


def test_a_sample_has_the_type_of_its_class_and_takes_changes_in_either_spelling():
    event = testing.sample(ContactCreate, firstName="Ada", last_name="Lovelace", customFields=[])

    assert (event.first_name, event.last_name, event.custom_fields) == ("Ada", "Lovelace", [])
    assert (event.raw["firstName"], event.raw["lastName"]) == ("Ada", "Lovelace")
    assert testing.sample(ContactCreate).first_name != "Ada", "each sample is a copy of its own"


def test_of_a_list_body_the_first_element_is_the_event():
    assert isinstance(testing.sample(SaasPlanCreate), SaasPlanCreate)


def test_what_a_sample_cannot_be_is_refused():
    with pytest.raises(TypeError, match="ContactCreate has no field firstname"):
        testing.sample(ContactCreate, firstname="Ada")
    with pytest.raises(WrongShape):
        testing.sample(ContactCreate, id=7)
    for name in ("BrandNewThing", "ContactCreate-99", "ContactCreate-x"):
        with pytest.raises(ValueError, match="no sample"):
            testing.sample(name)


def test_the_context_tells_of_the_event_what_a_worker_would():
    event = testing.sample(AppointmentCreate, locationId="location-1")
    delivery = testing.context(event, app="shop", attempt=3).delivery

    assert (delivery.app, delivery.tenant, delivery.type) == ("shop", "location-1", "AppointmentCreate")
    assert delivery.entity == event.raw["appointment"]["id"]
    assert (delivery.attempt, delivery.element, delivery.replay_id) == (3, 0, None)


def test_the_idempotency_key_is_the_same_at_each_attempt():
    event = testing.sample(ContactCreate)
    first, second = (testing.context(event, attempt=attempt).idempotency_key for attempt in (1, 2))

    assert first == second != testing.context(testing.sample(ContactCreate, webhookId="another")).idempotency_key


async def test_calls_are_recorded_and_answered_by_path_in_turn_or_by_template():
    async def body(ctx):
        api = ctx.api
        assert await api.contacts.get("c/1") == {"id": "first"}
        assert await api.contacts.get("c/1") == {"id": "second"}
        assert await api.contacts.get("c2") == {"id": "any"}
        await api.of("company-1").products.get("p")

    answers = {
        "GET /contacts/c%2F1": [{"contact": {"id": "first"}}, {"contact": {"id": "second"}}],
        "GET /contacts/{contactId}": {"contact": {"id": "any"}},
        "GET /products/p": {"_id": "p"},
    }
    ended, ctx = await outcome(body, answers=answers)

    assert ended == testing.Outcome("done")
    assert [call.named for call in ctx.calls] == [*["GET /contacts/c%2F1"] * 2, "GET /contacts/c2", "GET /products/p"]
    assert ctx.calls[0].tenant == ctx.delivery.tenant
    assert (ctx.calls[3].tenant, ctx.calls[3].query) == ("company-1", {"locationId": "company-1"})


async def test_what_a_handler_changes_in_an_answer_stays_with_it():
    async def body(ctx):
        (await ctx.api.contacts.get("c")).clear()
        assert await ctx.api.contacts.get("c") == {"id": "c"}

    ended, _ = await outcome(body, answers={"GET /contacts/c": {"contact": {"id": "c"}}})

    assert ended.state == "done"


async def test_an_error_among_the_answers_is_raised_to_the_handler():
    async def body(ctx):
        with pytest.raises(ApiNotFound):
            await ctx.api.contacts.get("gone")
        await ctx.api.contacts.get("there")

    ended, _ = await outcome(
        body, answers={"GET /contacts/gone": ApiNotFound("gone"), "GET /contacts/there": ApiUnavailable("down")}
    )

    assert (ended.state, type(ended.error)) == ("retry", ApiUnavailable)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ValueError("bug"), "retry", "retry"),
        (Retry(), "retry", "retry"),
        (RateLimited("429"), "retry", "waiting"),
        (InstallationMissing("none"), "retry", "waiting"),
        (Permanent("never"), "dead", "permanent"),
        (SystemExit(1), "retry", "retry"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_an_error_has_the_workers_verdict(error, state, reason):
    ended, _ = await outcome(raising(error))

    assert (ended.state, ended.reason, ended.error) == (state, reason, error)


async def test_the_verdict_goes_by_the_handlers_own_policy():
    twice, hour = {"attempts": 2}, {"deadline": timedelta(hours=1)}
    long_ago = datetime.now(UTC) - timedelta(hours=2)

    assert (await outcome(raising(ValueError()), policy=twice))[0].state == "retry"
    assert (await outcome(raising(ValueError()), policy=twice, attempt=2))[0].reason == "attempts"
    assert (await outcome(raising(ValueError()), policy=hour, received_at=long_ago))[0].reason == "deadline"
    after = (await outcome(raising(Retry(after=timedelta(minutes=5)))))[0].after
    assert after is not None
    assert timedelta(minutes=5) <= after < timedelta(minutes=6)


async def test_a_handler_that_outlives_its_timeout_is_ended():
    async def body(ctx):
        await asyncio.Event().wait()

    ended, _ = await outcome(body, policy={"timeout": timedelta(milliseconds=10)})

    assert (ended.state, type(ended.error)) == ("retry", TimeoutError)


@pytest.mark.parametrize("answers", [{}, {"GET /contacts/c": []}], ids=["none", "none left"])
async def test_a_call_without_an_answer_fails_the_test_even_if_the_handler_catches_it(answers):
    async def body(ctx):
        with contextlib.suppress(Exception):
            await ctx.api.contacts.get("c")

    with pytest.raises(testing.UnexpectedCall, match="GET /contacts/c"):
        await outcome(body, answers=answers)


async def test_a_handler_that_uses_the_database_must_be_given_one():
    async def body(ctx):
        await ctx.db.execute("SELECT 1")

    with pytest.raises(testing.UnexpectedCall, match=r"ctx\.db\.execute"):
        await outcome(body)

    class Database:
        async def execute(self, query):
            assert query == "SELECT 1"

    assert (await outcome(body, db=Database()))[0].state == "done"


def test_answers_that_name_no_call_are_refused():
    with pytest.raises(ValueError, match="method and path"):
        testing.context(testing.sample(ContactCreate), answers={"contacts.get-contact": {}})


async def test_what_no_worker_would_run_is_not_run_here():
    async def unmarked(event, ctx):
        pass

    event = testing.sample(ContactCreate)
    with pytest.raises(Misconfigured, match="not marked"):
        await testing.run(unmarked, event, testing.context(event))
    with pytest.raises(TypeError, match="registered for ContactDelete"):
        await testing.run(handler(None, ContactDelete), event, testing.context(event))
