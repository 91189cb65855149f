"""The test kit on the simulator: handlers make real calls, and what they did can be read."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from levelgate import ApiUnavailable, InstallationMissing, RateLimited, on, testing
from levelgate.events import ContactCreate, OpportunityCreate, SaasPlanCreate
from levelgate.simulator.state import RESOURCES
from levelgate.testing import Kind


@on(ContactCreate, name="read")
async def read(event, ctx):
    await ctx.api.contacts.get(event.id)


@pytest.fixture
async def vendor():
    async with testing.simulated() as vendor:
        yield vendor


def contact(vendor, event, **fields):
    return vendor.put("contact", {"id": event.id, **fields}, location=event.location_id)


async def call(ctx, operation, **given):
    """Call an operation that no method of the API names."""
    return await ctx.api._caller.call(operation, **given)  # noqa: SLF001 -- the methods only read


async def test_a_call_finds_what_was_put(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event, firstName="Ada")
    ctx = vendor.context(event)

    found = await ctx.api.contacts.get(event.id)

    assert (found["firstName"], found["locationId"], found["tags"]) == ("Ada", event.location_id, [])
    assert ctx.calls == [testing.Call(f"GET /contacts/{event.id}", event.location_id, {}, None)]


async def test_what_a_handler_changes_can_be_read_afterwards(vendor):
    @on(OpportunityCreate)
    async def noted(event, ctx):
        task = {"title": "Call", "dueDate": "2026-11-24T12:00:00Z", "completed": False}
        await call(ctx, "contacts.create-task", path={"contactId": event.contact_id}, json=task)

    event = testing.sample(OpportunityCreate)
    vendor.put("contact", {"id": event.contact_id, "locationId": event.location_id})
    ctx = vendor.context(event)

    assert (await testing.run(noted, event, ctx)).state == "done"
    (task,) = vendor.entities("task", event.location_id)
    assert (task["contactId"], task["title"]) == (event.contact_id, "Call")
    assert vendor.get("task", task["id"]) == task
    assert [call.json["title"] for call in ctx.calls] == ["Call"]


async def test_what_is_not_there_is_not_found(vendor):
    event = testing.sample(ContactCreate)
    assert (await testing.run(read, event, vendor.context(event))).reason == "permanent"

    contact(vendor, event)
    assert (await testing.run(read, event, vendor.context(event))).state == "done"

    vendor.remove("contact", event.id)
    assert (await testing.run(read, event, vendor.context(event))).reason == "permanent"
    assert vendor.get("contact", event.id) is None


async def test_another_locations_entity_is_refused(vendor):
    event = testing.sample(ContactCreate)
    vendor.put("contact", {"id": event.id}, location="another-location")

    assert (await testing.run(read, event, vendor.context(event))).reason == "permanent"


@pytest.mark.parametrize(("status", "error", "reason"), [(500, ApiUnavailable, "retry"), (429, RateLimited, "waiting")])
async def test_a_call_fails_as_often_as_it_was_told_to(vendor, status, error, reason):
    event = testing.sample(ContactCreate)
    contact(vendor, event)
    vendor.fail("GET /contacts/{contactId}", status=status, times=2)
    ctx = vendor.context(event)

    outcomes = [await testing.run(read, event, ctx) for _ in range(3)]

    assert [(each.state, type(each.error), each.reason) for each in outcomes[:2]] == [("retry", error, reason)] * 2
    assert outcomes[2].state == "done"
    assert len(ctx.calls) == 3


async def test_a_call_whose_answer_is_lost_was_made_all_the_same(vendor):
    @on(ContactCreate)
    async def tagging(event, ctx):
        await call(ctx, "contacts.add-tags", path={"contactId": event.id}, json={"tags": ["new"]})

    event = testing.sample(ContactCreate)
    contact(vendor, event)
    vendor.fail("POST /contacts/{contactId}/tags", status=None)

    outcome = await testing.run(tagging, event, vendor.context(event))

    assert (type(outcome.error), outcome.reason) == (ApiUnavailable, "retry")
    assert vendor.get("contact", event.id)["tags"] == ["new"]


async def test_only_the_entity_that_was_named_fails(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event)
    vendor.fail("GET /contacts/c%2F1", times=None)

    assert (await testing.run(read, event, vendor.context(event))).state == "done"


@pytest.mark.parametrize("call", ["GET contacts", "/contacts/abc", "GET /contacts/{id}"])
async def test_a_fault_that_could_never_happen_is_refused(vendor, call):
    with pytest.raises(ValueError, match="method and path"):
        vendor.fail(call)


async def test_without_its_app_a_location_waits(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event)
    assert (await testing.run(read, event, vendor.context(event))).state == "done"

    vendor.uninstall(event.location_id)
    outcome = await testing.run(read, event, vendor.context(event))

    assert (type(outcome.error), outcome.reason) == (InstallationMissing, "waiting")


async def test_an_app_may_do_what_its_scopes_say():
    event = testing.sample(ContactCreate)
    async with testing.simulated(scopes=["contacts.write"]) as vendor:
        contact(vendor, event)
        assert (await testing.run(read, event, vendor.context(event))).reason == "permanent"


async def test_an_agencys_event_calls_with_the_agencys_token(vendor):
    event = testing.sample(SaasPlanCreate)
    ctx = vendor.context(event)
    vendor.put("location", {"id": "one-of-its-own"})

    assert (await ctx.api.of("one-of-its-own").locations.get("one-of-its-own"))["companyId"] == ctx.delivery.tenant
    assert await ctx.api.locations.get("one-of-its-own")


async def test_a_location_belongs_to_the_company_that_its_event_names(vendor):
    event = testing.sample("LocationCreate", companyId="company-1")
    ctx = vendor.context(event)

    location = await ctx.api.of("company-1").locations.get(ctx.delivery.tenant)

    assert location["companyId"] == "company-1"


async def test_a_token_that_has_expired_is_replaced(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event)
    ctx = vendor.context(event)
    await ctx.api.contacts.get(event.id)
    vendor.advance(timedelta(days=2))

    assert await ctx.api.contacts.get(event.id)


async def test_a_call_that_the_simulator_does_not_have_fails_the_test(vendor):
    @on(ContactCreate)
    async def beyond(event, ctx):
        await call(ctx, "blogs.get-blogs", query={})

    event = testing.sample(ContactCreate)
    with pytest.raises(testing.UnexpectedCall, match="does not have"):
        await testing.run(beyond, event, vendor.context(event))


async def test_what_cannot_be_put_is_refused(vendor):
    with pytest.raises(ValueError, match="say where the contact is"):
        vendor.put("contact", {})
    with pytest.raises(ValueError, match="has no company"):
        vendor.put("company", {}, location="l")
    with pytest.raises(ValueError, match="has no install"):
        vendor.get("install", "i")


def test_the_kinds_are_the_simulators():
    assert set(get_args(Kind)) == set(RESOURCES)


async def test_two_of_them_share_nothing(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event)
    async with testing.simulated() as another:
        assert another.get("contact", event.id) is None
        assert another.url != vendor.url


async def test_entities_are_copies(vendor):
    event = testing.sample(ContactCreate)
    contact(vendor, event, customFields=[]).clear()
    vendor.get("contact", event.id)["customFields"].append("changed")

    assert vendor.get("contact", event.id)["customFields"] == []


IN_A_PROJECT_OF_ITS_OWN = """
import asyncio

import pytest
from levelgate import Context, on, testing
from levelgate.events import ContactCreate


@on(ContactCreate)
async def greet(event: ContactCreate, ctx: Context) -> None:
    await ctx.api.contacts.get(event.id)


async def greeted():
    event = testing.sample(ContactCreate)
    async with testing.simulated() as vendor:
        vendor.seed()
        assert (await testing.run(greet, event, vendor.context(event))).state == "done"


@pytest.mark.asyncio
async def test_in_a_running_loop():
    await greeted()


def test_without_a_framework():
    asyncio.run(greeted(), debug=True)
"""


def test_it_works_in_a_project_that_has_nothing_of_ours_configured(tmp_path):
    (tmp_path / "test_greet.py").write_text(IN_A_PROJECT_OF_ITS_OWN)
    (tmp_path / "levelgate.toml").write_text("not even TOML")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_greet.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not list(Path(tmp_path).glob(".levelgate"))
