"""Many contact events over many locations, for load and kill tests; every contact that they name exists in the API."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import msgspec

from levelgate.simulator.clock import iso
from levelgate.simulator.consent import DEMO_COMPANY
from levelgate.simulator.keys import Scheme
from levelgate.simulator.seeding import ensure_contact, ensure_location
from levelgate.simulator.sender import Outcome
from levelgate.simulator.store import Body
from levelgate.simulator.vendor import Vendor
from schemas.ids import AppName

IDS_A_LINE = 500
"""So that no line of the answer is too long for a reader of lines."""

_PROGRESS_S = 0.5
_STEP_S = 0.001
"""Between the dates of two contacts, so that the searches have an order."""


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to send."""

    app: AppName | None = None
    """None: the only one."""
    count: int = 1000
    tenants: int = 50
    entities_per_tenant: int = 20
    concurrency: int = 32
    scheme: Scheme = "ed25519"
    """RSA signing takes milliseconds of CPU for each, so it has to be asked for."""


def location_id(number: int) -> str:
    """Return the id of the burst's nth location, the same in every burst."""
    return f"LOC{number:017d}"


def contact_id(tenant: int, number: int) -> str:
    """Return the id of the nth contact of the burst's nth location."""
    return f"C{tenant:07d}N{number:011d}"


async def run_burst(vendor: Vendor, app: AppName, burst: Burst) -> AsyncIterator[dict[str, Any]]:
    """Install, send, and yield progress; then the ids of all webhooks, and a last line with `done`."""
    installed = await _install(vendor, app, burst)
    events = list(_events(vendor, burst))
    await vendor.store.flush()
    outcomes: list[Outcome] = []
    waiting = iter(events)

    async def send_in_turn() -> None:
        for body in waiting:  # shared by all: each takes the next
            outcome = await vendor.sender.send(app, body, scheme=burst.scheme)
            outcomes.append(outcome)

    senders = [asyncio.create_task(send_in_turn()) for _ in range(burst.concurrency)]
    try:
        pending = set(senders)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_PROGRESS_S)
            yield _counts(outcomes, len(events))
        for sender in senders:
            sender.result()
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    ids = iter(outcomes)
    while part := list(islice(ids, IDS_A_LINE)):
        yield {
            "ids": [outcome.id for outcome in part if outcome.accepted],
            "failed_ids": [outcome.id for outcome in part if not outcome.accepted],
        }
    yield {"done": True, "installed": installed, **_counts(outcomes, len(events))}


async def _install(vendor: Vendor, app: AppName, burst: Burst) -> int:
    """Make the locations, put the app on them, and tell the receiver of each that is new, before its events."""
    app_id = vendor.settings.apps[app].app_id
    fresh = []
    for number in range(burst.tenants):
        location = location_id(number)
        ensure_location(vendor.store, location, DEMO_COMPANY)
        if vendor.grants.install(app_id, location):
            fresh.append(location)
    await vendor.store.flush()
    await asyncio.gather(*(vendor.sender.send_install(app, location, DEMO_COMPANY) for location in fresh))
    return len(fresh)


def _events(vendor: Vendor, burst: Burst) -> Iterator[Body]:
    """Yield the events, tenants in turn: each contact's first event is its creation, the others change it."""
    seen: set[str] = set()
    now = vendor.clock.now()
    for number in range(burst.count):
        tenant = number % burst.tenants
        entity = number // burst.tenants % burst.entities_per_tenant
        contact = contact_id(tenant, entity)
        location = location_id(tenant)
        person: Body = {"firstName": "Burst", "lastName": f"Number {entity}", "email": f"{contact}@example.com".lower()}
        ensure_contact(
            vendor.store, location, contact, {**person, "dateAdded": iso(now + _STEP_S * entity), "tags": ["burst"]}
        )
        yield {
            "type": "ContactUpdate" if contact in seen else "ContactCreate",
            "locationId": location,
            "id": contact,
            **person,
            "name": f"Burst Number {entity}",
            "dateAdded": iso(now),
            "tags": ["burst"],
        }
        seen.add(contact)


def _counts(outcomes: list[Outcome], total: int) -> dict[str, Any]:
    accepted = sum(outcome.accepted for outcome in outcomes)
    return {
        "sent": len(outcomes),
        "accepted": accepted,
        "retried": sum(outcome.tries - 1 for outcome in outcomes),
        "failed": len(outcomes) - accepted,
        "total": total,
    }
