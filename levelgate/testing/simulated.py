"""A HighLevel in this process for tests of handlers: real HTTP calls, tokens, refusals and faults, and a state to read.

    async with testing.simulated() as vendor:
        vendor.put("contact", {"id": event.id, "firstName": "Ada"}, location=event.location_id)
        ctx = vendor.context(event)
        outcome = await testing.run(greet, event, ctx)

It is the simulator that the local stack runs, on a free port of this machine and with no webhooks sent. Needs no
Kafka and no database, reads no setting, and leaves no file behind.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from levelgate.highlevel.client import HighLevelClient, OnCall
from levelgate.highlevel.lanes import Lane
from levelgate.highlevel.recording import copied
from levelgate.highlevel.wire import open_session
from levelgate.simulator.app import build_simulator
from levelgate.simulator.consent import DEMO_COMPANY, KNOWN_SCOPES
from levelgate.simulator.faults import Fault
from levelgate.simulator.grants import Principal
from levelgate.simulator.keys import SimulatorKeys, new_keys
from levelgate.simulator.run import make_runner
from levelgate.simulator.seeding import ensure_company, ensure_location, seed_entities
from levelgate.simulator.state import RESOURCES, ROUTES
from levelgate.simulator.vendor import VENDOR, Vendor
from levelgate.testing.runs import RecordingClient, RecordingContext, UnexpectedCall, context_of
from schemas.catalogue import company_of, lookup, tenant_of
from schemas.errors import InstallationMissing
from schemas.events import Event
from schemas.ids import AppName, TenantId
from schemas.metrics import ApiMetrics
from schemas.operations import Operation
from schemas.settings import App, Settings, Simulator
from schemas.settings import Vendor as VendorSettings

Kind = Literal[
    "appointment",
    "contact",
    "conversation",
    "invoice",
    "location",
    "message",
    "note",
    "opportunity",
    "order",
    "price",
    "product",
    "task",
    "user",
]
"""What the simulator has: the kinds of entities that `put` and `get` know."""

_CLIENT_ID = "66f0c1d2e3a4b5968778695a-kit"
_NO_RECEIVER = "http://127.0.0.1:9"
_SMALL_RSA_BITS = 2048
_TOO_MANY = 429
_SERVED = frozenset((route.method, route.path) for route in ROUTES)


@asynccontextmanager
async def simulated(*, app: str = "demo", scopes: Collection[str] = ()) -> "AsyncIterator[SimulatedVendor]":
    """Serve a HighLevel of its own, without entities, for as long as the block lasts.

    `app` is the app's name in `ctx.delivery`; `scopes` are what it may do, everything where none are given.
    """
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="levelgate-"))
    try:
        settings = _settings(AppName(app), folder)
        server = build_simulator(settings, keys=await asyncio.to_thread(_keys))
        runner = make_runner(server)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            tokens = _Tokens(server[VENDOR], frozenset(scopes) or KNOWN_SCOPES)
            async with open_session() as session:
                metrics = ApiMetrics(CollectorRegistry())
                client = HighLevelClient(session, VendorSettings(api_url=url), tokens, metrics)
                yield SimulatedVendor(server[VENDOR], client, tokens, AppName(app), url)
        finally:
            await runner.cleanup()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


class SimulatedVendor:
    """The running HighLevel: what exists there, what fails there, and contexts that call it. Made by `simulated`."""

    def __init__(self, vendor: Vendor, client: HighLevelClient, tokens: "_Tokens", app: AppName, url: str) -> None:
        self._vendor = vendor
        self._client = client
        self._tokens = tokens
        self._app = app
        self.url = url
        """Where it answers, for what a handler calls without `ctx.api`."""

    def context(
        self,
        event: Event,
        *,
        attempt: int = 1,
        received_at: datetime | None = None,
        db: Any = None,  # noqa: ANN401 -- an asyncpg pool, or whatever of it the handler uses
    ) -> RecordingContext:
        """Return a context for one run of a handler on `event`, whose API calls are made to this HighLevel.

        The event's location exists from then on, with the app on it. Everything else is as in `testing.context`.
        """
        client = _ForwardingClient(self._client)
        ctx = context_of(event, client, app=self._app, attempt=attempt, received_at=received_at, db=db)
        known, tenant = lookup(ctx.delivery.type), ctx.delivery.tenant
        if tenant_of(known, {name: value for name, value in event.raw.items() if name != "companyId"}) is None:
            self._tokens.add_agency(tenant)
        else:
            company = company_of(known, event.raw)
            # The vendor's samples have a location and a company of one id.
            self._tokens.add_location(tenant, str(company) if company and str(company) != tenant else None)
        return ctx

    def put(self, kind: Kind, body: Mapping[str, Any], *, location: str | None = None) -> dict[str, Any]:
        """Create or replace an entity and return it, with an id where `body` has none.

        It belongs to `location`, else to the location that `body` names; a note or a task also to the contact that
        its `contactId` names, a price to its `product`. Fields are the vendor's; nothing checks them.
        """
        resource = RESOURCES[_kind(kind)]
        given: dict[str, Any] = copied(dict(body))
        entity_id = given.get(resource.id_field) or resource.new_id()
        place = location or given.get("locationId") or given.get("altId") or (entity_id if kind == "location" else None)
        if place is None:
            raise ValueError(f"say where the {kind} is: put(…, location=…), or a locationId in its body")
        self._tokens.add_location(TenantId(place))
        made: dict[str, Any] = {**resource.defaults}
        for field in filter(None, (resource.created_field, resource.updated_field)):
            made[field] = self._vendor.clock.iso()
        if resource.shows_tenant is not None:
            made[resource.shows_tenant] = place
        before = self._vendor.store.get("location", place) if kind == "location" else None
        stored = {**made, **(before.body if before else {}), **given, resource.id_field: entity_id}
        self._vendor.store.put(kind, entity_id, place, stored)
        return _copied(stored)

    def get(self, kind: Kind, entity_id: str) -> dict[str, Any] | None:
        """Return an entity as it is now; None where there is none (any more)."""
        entry = self._vendor.store.get(_kind(kind), entity_id)
        return _copied(entry.body) if entry else None

    def entities(self, kind: Kind, location: str) -> list[dict[str, Any]]:
        """Return a location's entities of a kind, the oldest first."""
        return [_copied(body) for body in self._vendor.store.of_tenant(_kind(kind), location)]

    def remove(self, kind: Kind, entity_id: str) -> None:
        """Delete an entity, if it is there."""
        self._vendor.store.remove(_kind(kind), entity_id)

    def seed(self) -> None:
        """Make all that the documented events tell of: the contact of `sample(ContactCreate)`, and so on."""
        seed_entities(self._vendor.store, self._vendor.samples)

    def fail(self, call: str, *, status: int | None = 500, times: int | None = 1) -> None:
        """Let the next `times` calls fail, all of them where that is None.

        `call` is method and path: `GET /contacts/abc`, or `GET /contacts/{contactId}` for all of them. They are
        answered `status`; where that is None they are carried out, and the answer is lost on its way (the client asks
        a second time where that is harmless, so that a GET takes two of them).
        """
        method, _, path = call.partition(" ")
        if not path.startswith("/") or ("{" in path and (method, path) not in _SERVED):
            raise ValueError(f"fail goes by method and path, as in 'GET /contacts/{{contactId}}', not by {call!r}")
        effect: Literal["lost", "limit", "error"]
        effect = "lost" if status is None else "limit" if status == _TOO_MANY else "error"
        self._vendor.faults.add(
            Fault(effect, path=unquote(path), is_whole=True, method=method, status=status or 0, times=times)
        )

    def advance(self, by: timedelta) -> None:
        """Let time pass at HighLevel at once: its limits begin anew, its tokens end and are replaced."""
        self._vendor.clock.move(by.total_seconds())

    def uninstall(self, tenant: str) -> None:
        """Take the app off a location or an agency: its tokens end, and there are no new ones."""
        self._tokens.forget(TenantId(tenant))


class _ForwardingClient(RecordingClient):
    """Notes a context's calls and lets the one client of the vendor make them."""

    def __init__(self, client: HighLevelClient) -> None:
        super().__init__()
        self._client = client

    async def request(
        self,
        app: AppName,
        tenant: TenantId,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        json: Any = None,  # noqa: ANN401 -- any JSON
        on_call: OnCall | None = None,
        lane: Lane = "live",
    ) -> Any:  # noqa: ANN401 -- any JSON
        """Note the call and make it; the real one's arguments."""
        named = self.note(tenant, operation, path, query, json)
        if (operation.method, operation.path) not in _SERVED:
            # The simulator's 404 would look like an entity that is gone.
            self.unexpected.append(UnexpectedCall(f"the handler calls {named}, which the simulator does not have"))
            raise self.unexpected[-1]
        return await self._client.request(
            app, tenant, operation, path=path, query=query, json=json, on_call=on_call, lane=lane
        )


class _Tokens:
    """Gives each known tenant a token of the vendor's own making, as installing the app there would have."""

    def __init__(self, vendor: Vendor, scopes: Collection[str]) -> None:
        self._vendor = vendor
        self._scopes = tuple(sorted(scopes))
        ((_, app),) = vendor.settings.apps.items()
        self._app_id = app.app_id
        self._companies: dict[TenantId, str | None] = {}
        """Each tenant that has the app, with its company where it is a location; an agency has none."""
        self._held: dict[TenantId, SecretStr] = {}
        self._gone: set[TenantId] = set()
        self.add_agency(DEMO_COMPANY)

    def add_agency(self, company: str) -> None:
        """Make an agency that has the app."""
        ensure_company(self._vendor.store, company)
        self._companies.setdefault(TenantId(company), None)

    def add_location(self, tenant: TenantId, company: str | None = None) -> None:
        """Make a location that has the app, unless it was uninstalled there; of `company` where one is named."""
        owner = company or self._companies.get(tenant) or DEMO_COMPANY
        store = self._vendor.store
        self.add_agency(owner)
        ensure_location(store, tenant, owner)
        location = store.get("location", tenant)
        if location is not None and location.body["companyId"] != owner:
            store.put("location", tenant, tenant, {**location.body, "companyId": owner})
        self._companies[tenant] = owner
        if tenant not in self._gone:
            self._vendor.grants.install(self._app_id, tenant)

    def forget(self, tenant: TenantId) -> None:
        """Uninstall the app."""
        self._vendor.grants.uninstall(self._app_id, tenant)
        self._gone.add(tenant)

    async def access_token(self, app: AppName, tenant: TenantId) -> SecretStr:
        """Return a good token; raise InstallationMissing where the tenant has the app no more, or is not known."""
        if tenant not in self._companies or tenant in self._gone:
            raise InstallationMissing(f"{app} has no usable installation for {tenant}: it must be installed there")
        if tenant not in self._held:
            company = self._companies[tenant]
            principal = Principal(
                app_id=self._app_id,
                level="company" if company is None else "location",
                company=company or tenant,
                location=None if company is None else tenant,
                scopes=self._scopes,
            )
            self._held[tenant] = SecretStr(self._vendor.grants.issue(principal)["access_token"])
        return self._held[tenant]

    async def reject(self, app: AppName, tenant: TenantId, token: SecretStr) -> bool:  # noqa: ARG002 -- a TokenSource
        """Forget a token that was answered with 401."""
        return self._held.pop(tenant, None) is not None


def _copied(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an entity that nobody else holds."""
    own: dict[str, Any] = copied(dict(body))
    return own


def _kind(kind: str) -> str:
    if kind not in RESOURCES:
        raise ValueError(f"the simulator has no {kind}: it has {', '.join(sorted(RESOURCES))}")
    return kind


def _settings(app: AppName, folder: Path) -> Settings:
    """Return settings with what the simulator needs and nothing else: not checked, not read from anywhere."""
    known = App(client_id=_CLIENT_ID, client_secret=SecretStr(secrets.token_urlsafe()))
    simulator = Simulator(port=0, data_dir=folder, receiver_url=_NO_RECEIVER)
    return Settings.model_construct(apps={app: known}, simulator=simulator)


@cache
def _keys() -> SimulatorKeys:
    """Keys for webhooks that are never sent; small ones, made once a process. Blocks."""
    return new_keys(rsa_bits=_SMALL_RSA_BITS)
