"""How users' code is typed: read by mypy in `make lint`, never run.

The right uses pass as they stand. Each wrong one carries the error that mypy must find there: where it does
not any more, its `type: ignore` is unused, and that is an error too.
"""

from datetime import timedelta
from typing import Any, assert_type

from levelgate import Context, Delivery, on, testing
from levelgate.events import ContactCreate, ContactUpdate, Event
from levelgate.highlevel.api import Entity

MINUTE = timedelta(minutes=1)


@on(ContactCreate)
async def plain(event: ContactCreate, ctx: Context) -> None:
    assert_type(event.id, str)
    assert_type(event.email, str | None)
    assert_type(event.raw, dict[str, Any])
    assert_type(ctx.delivery, Delivery)
    assert_type(ctx.delivery.attempt, int)
    assert_type(ctx.idempotency_key, str)
    assert_type(await ctx.api.contacts.get(event.id), Entity)
    await ctx.db.execute("SELECT $1::text", event.id)
    ctx.log.info("seen", contact=event.id)


@on(ContactCreate, ContactUpdate, "ContactMerged", name="several")
async def several(event: ContactCreate | ContactUpdate | Event, ctx: Context) -> None: ...


@on(
    ContactCreate,
    attempts=3,
    backoff=MINUTE,
    max_backoff=MINUTE,
    deadline=MINUTE,
    timeout=MINUTE,
    ordering="relaxed",
)
async def with_policy(event: ContactCreate, ctx: Context) -> None: ...


async def marked_functions_keep_their_type(event: ContactCreate, ctx: Context) -> None:
    await plain(event, ctx)
    await plain(event)  # type: ignore[call-arg]
    await with_policy("event", ctx)  # type: ignore[arg-type]


async def the_test_kit(db: object) -> None:
    event = testing.sample(ContactCreate, first_name="Ada")
    assert_type(event, ContactCreate)
    assert_type(testing.sample("ContactCreate-1"), Event)
    ctx = testing.context(event, answers={"GET /contacts/c": [{"contact": {}}, ValueError()]}, db=db)
    outcome = await testing.run(plain, event, ctx)
    assert_type(outcome.after, timedelta | None)
    await testing.run(plain, event, Context)  # type: ignore[arg-type]
    testing.sample(int)  # type: ignore[type-var]
    testing.context(event, answers={"GET /contacts/c": 404})  # type: ignore[dict-item]
    assert outcome.state == "failed"  # type: ignore[comparison-overlap]


async def the_test_kit_on_the_simulator(event: ContactCreate, db: object) -> None:
    async with testing.simulated(app="shop", scopes=["contacts.readonly"]) as vendor:
        assert_type(vendor, testing.SimulatedVendor)
        assert_type(vendor.put("contact", {"id": "c"}, location="l"), dict[str, Any])
        assert_type(vendor.get("contact", "c"), dict[str, Any] | None)
        assert_type(vendor.entities("task", "l"), list[dict[str, Any]])
        ctx = vendor.context(event, attempt=2, db=db)
        assert_type(ctx, testing.RecordingContext)
        await testing.run(plain, event, ctx)
        assert_type(ctx.calls, list[testing.Call])
        vendor.fail("GET /contacts/{contactId}", status=None, times=None)
        vendor.put("contract", {})  # type: ignore[arg-type]
        vendor.fail("GET /contacts/c", status="500")  # type: ignore[arg-type]


@on(ContactCreate)  # type: ignore[type-var]
def not_async(event: ContactCreate, ctx: Context) -> None: ...


@on(int)  # type: ignore[arg-type]
async def no_event(event: Event, ctx: Context) -> None: ...


@on(ContactCreate, attempts="3")  # type: ignore[arg-type]
async def attempts_in_words(event: ContactCreate, ctx: Context) -> None: ...


@on(ContactCreate, deadline=600)  # type: ignore[arg-type]
async def deadline_in_seconds(event: ContactCreate, ctx: Context) -> None: ...


@on(ContactUpdate, coalesce=True)
async def coalescing(event: ContactUpdate, ctx: Context) -> None: ...


@on(ContactCreate, ordering="loose")  # type: ignore[arg-type]
async def no_such_ordering(event: ContactCreate, ctx: Context) -> None: ...


@on(ContactCreate, retries=3)  # type: ignore[call-arg]
async def no_such_policy(event: ContactCreate, ctx: Context) -> None: ...


async def what_the_context_has_not(event: ContactCreate, ctx: Context) -> None:
    assert ctx.apis  # type: ignore[attr-defined]
    assert event.first_names  # type: ignore[attr-defined]
    await ctx.api.contacts.get(7)  # type: ignore[arg-type]
