"""An access token for (app, tenant), whatever it takes: memory, the table, a refresh, an exchange.

However many ask at once, over all processes, the vendor is called once: within a process by one flight per tenant,
across processes by a lease on the installation's row (design §9.11). Nobody holds a connection while waiting.
Never deletes a token on doubt, and never shows one.
"""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

import aiohttp
import asyncpg
import msgspec
from pydantic import SecretStr

from levelgate.highlevel import oauth
from levelgate.highlevel.fetching import TokenFetch
from levelgate.highlevel.installations import MARGIN, Installation, Step, next_step
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.oauth import Grant
from levelgate.highlevel.token_table import TokenStoreAway, TokenTable
from schemas.errors import InstallationMissing, LevelgateError, RateLimited, RefreshFailed
from schemas.ids import AppName, CompanyId, LocationId, TenantId
from schemas.logs import get_logger
from schemas.metrics import ApiMetrics
from schemas.settings import App, Settings

_log = get_logger(__name__)

_OBTAIN_TIMEOUT_S = 60.0
"""For all that one flight does: its company's flight, waiting for a lease, up to three calls."""
_POLL_S = (0.02, 0.5)
"""First and longest pause between two looks at a leased row."""
_RECHECK_S = 300.0
"""A token in memory is compared with the table this often: an uninstall may have been handled elsewhere."""
_REJECT_PAUSE_S = 10.0
"""Between two refreshes of a tenant because of 401s: an endpoint that always says 401 must not refresh each time."""
_BULK_S = 10.0
_BULK_AT_ONCE = 4

Key = tuple[AppName, TenantId]


class BulkInstall(msgspec.Struct, frozen=True):
    """What a bulk install brought: locations known, and how many of them have a token already."""

    locations: int
    with_token: int


class _Held(msgspec.Struct):
    """A token in memory; times by the monotonic clock."""

    token: SecretStr
    version: int
    good_until: float
    read_at: float


class _Tenant:
    """What this process knows of one tenant's token."""

    __slots__ = ("flight", "held", "rejected_at", "rejected_version")

    def __init__(self) -> None:
        self.held: _Held | None = None
        self.flight: asyncio.Task[_Held] | None = None
        self.rejected_version = -1
        self.rejected_at = float("-inf")


class TokenStore:
    """Tokens of all installations; one per process, closed by `aclose` before its pool and session are."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        keyring: KeyRing,
        session: aiohttp.ClientSession,
        settings: Settings,
        metrics: ApiMetrics,
    ) -> None:
        self._table = TokenTable(pool, keyring)
        self._session = session
        self._apps = settings.apps
        self._vendor = settings.vendor
        self._metrics = metrics
        self._tenants: dict[Key, _Tenant] = {}
        self._flights: set[asyncio.Task[_Held]] = set()

    async def aclose(self, *, grace_s: float = oauth.TOKEN_CALL_TIMEOUT_S) -> None:
        """Let running fetches end, so that no refresh's answer is lost; cancel what takes longer."""
        if self._flights:
            _, late = await asyncio.wait(self._flights, timeout=grace_s)
            for flight in late:
                flight.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def access_token(self, app: AppName, tenant: TenantId) -> SecretStr:
        """Return a token that is good for a minute at least, fetching it first if need be.

        However many ask at once, over all processes, the vendor is called once. A caller that is cancelled
        takes nobody along.
        Raises InstallationMissing, RefreshFailed (TokenStoreAway where Postgres is away), RateLimited.
        Source: facts.md, OAuth: each refresh returns a new refresh token and ends the old one.
        """
        known = self._tenants.setdefault((app, tenant), _Tenant())
        now = time.monotonic()
        held = known.held
        if held is not None and held.good_until > now and held.read_at + _RECHECK_S > now:
            return held.token
        flight = known.flight
        if flight is None:
            flight = asyncio.create_task(self._fly(app, tenant, known), name=f"token of {app}/{tenant}")
            known.flight = flight
            self._flights.add(flight)
            flight.add_done_callback(partial(self._landed, known))
        # wait(), not await: a cancelled waiter leaves the flight to the others, and a cancelled flight is no
        # cancellation of its waiters.
        await asyncio.wait({flight})
        if flight.cancelled():
            raise RefreshFailed(f"the token of {app} for {tenant} was not fetched: this process is stopping")
        return flight.result().token

    async def reject(self, app: AppName, tenant: TenantId, token: SecretStr) -> bool:
        """Forget a token that the vendor answered with 401; return whether asking again can bring another.

        It can't where the refused token has just been fetched because of another 401: then it is not stale.
        """
        known = self._tenants.setdefault((app, tenant), _Tenant())
        if known.held is not None and known.held.token == token:
            known.held = None
        known.flight = None  # one that began before the 401 may bring the same token; its waiters keep it
        row = await self._table.read(app, tenant)
        if row is None or row.access_token is None or self._table.access_token(row) != token:
            return True  # it has been replaced already
        if row.good_for <= timedelta(0) or row.version == known.rejected_version:
            return True  # another's 401 was faster
        if time.monotonic() - known.rejected_at < _REJECT_PAUSE_S:
            return False
        await self._table.expire_access_token(row)
        known.rejected_at = time.monotonic()
        known.rejected_version = row.version
        return True

    async def store_grant(self, app: AppName, grant: Grant) -> TenantId:
        """Store the tokens that a person consented to, in place of any others; return whose they are."""
        tenant = grant.tenant
        if tenant is None:
            raise RefreshFailed(f"a grant of {app} does not say whose it is")
        await self._table.store_grant(app, tenant, grant)
        self._forget(app, tenant)
        return tenant

    async def install_bulk(self, app: AppName, grant: Grant) -> BulkInstall:
        """Store a company's grant and make its installed locations known, each with a token by exchange.

        Exchanges stop after ten seconds, or at the vendor's first 429: the rest get theirs at their first use.
        Raises what `access_token` does, and GrantRefused where the vendor won't list the locations.
        """
        tenant = await self.store_grant(app, grant)
        company = CompanyId(tenant)
        token = await self.access_token(app, tenant)
        found = oauth.installed_locations(
            self._session, self._vendor, self._app(app), company_token=token, company=company
        )
        locations = [TenantId(location.id) async for location in found]
        await self._table.record_installs(app, locations, "location", company, None)
        pending = await self._table.pending_locations(app, company)
        await self._exchange_some(app, pending)
        left = await self._table.pending_locations(app, company)
        return BulkInstall(locations=len(locations), with_token=len(set(locations) - set(left)))

    async def record_install(
        self, app: AppName, location: LocationId | None, company: CompanyId | None, *, at: datetime | None = None
    ) -> None:
        """Know an installation that the vendor told of at `at`; tokens that live are not touched."""
        if location is not None:
            await self._table.record_installs(app, [TenantId(location)], "location", company, at)
        elif company is not None:
            await self._table.record_installs(app, [TenantId(company)], "company", company, at)

    async def record_uninstall(
        self, app: AppName, tenant: TenantId, *, is_company: bool, at: datetime | None = None
    ) -> None:
        """Erase the tokens of an installation that ended at `at`, unless it was installed again since.

        What an agency's uninstall means for its locations is not documented: they keep their refresh tokens,
        and the vendor is asked at their next call.
        """
        await self._table.record_uninstall(app, tenant, "company" if is_company else "location", at)
        self._forget(app, tenant)
        if is_company:
            for key in [key for key in self._tenants if key[0] == app]:
                self._forget(*key)

    async def probe(self) -> None:
        """Make sure that Postgres can take a token, before a code is spent; raise TokenStoreAway."""
        await self._table.try_writing()

    async def installations(self, app: AppName | None = None) -> list[Installation]:
        """Return all installations (of one app), without tokens."""
        return await self._table.read_all(app)

    def _forget(self, app: AppName, tenant: TenantId) -> None:
        known = self._tenants.get((app, tenant))
        if known is not None:
            known.held = known.flight = None

    def _landed(self, known: _Tenant, flight: "asyncio.Task[_Held]") -> None:
        self._flights.discard(flight)
        if known.flight is flight:
            known.flight = None
        if not flight.cancelled():
            flight.exception()  # seen, also where every waiter was cancelled

    async def _fly(self, app: AppName, tenant: TenantId, known: _Tenant) -> _Held:
        before = known.held
        try:
            async with asyncio.timeout(_OBTAIN_TIMEOUT_S):
                held = await self._obtain(app, tenant)
        except TimeoutError:
            raise RefreshFailed(f"the token of {app} for {tenant} could not be had in time") from None
        except TokenStoreAway:
            # What is in memory goes on while Postgres is away (design §9.13).
            if before is not None and before.good_until > time.monotonic():
                return before
            raise
        if known.flight is asyncio.current_task() and held.version > known.rejected_version:
            known.held = held
        return held

    async def _obtain(self, app: AppName, tenant: TenantId) -> _Held:
        pause_s, longest_s = _POLL_S
        fetch = TokenFetch(
            self._table, self._session, self._vendor, self._app(app), companies=self, metrics=self._metrics
        )
        while True:
            row = await self._table.read(app, tenant)
            step = Step.NOTHING if row is None else next_step(row)
            if row is None or step is Step.NOTHING:
                raise InstallationMissing(f"{app} has no usable installation for {tenant}: it must be installed there")
            match step:
                case Step.USE:
                    return self._hold(row)
                case Step.LATER:
                    raise _not_yet(row)
                case Step.WAIT:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, longest_s)
                case _:
                    await fetch.once(row, step)

    def _hold(self, row: Installation) -> _Held:
        now = time.monotonic()
        good_for_s = (row.good_for - MARGIN).total_seconds()
        return _Held(self._table.access_token(row), row.version, now + good_for_s, now)

    def _app(self, app: AppName) -> App:
        configured = self._apps.get(app)
        if configured is None:
            raise InstallationMissing(f"the settings have no app {app}")
        return configured

    async def _exchange_some(self, app: AppName, locations: Iterable[TenantId]) -> None:
        waiting = list(reversed(list(locations)))

        async def work() -> None:
            while waiting:
                tenant = waiting.pop()
                try:
                    await self.access_token(app, tenant)
                except RateLimited:
                    waiting.clear()
                except LevelgateError as error:
                    _log.warning("exchange_failed", app=app, tenant=tenant, error=str(error))

        try:
            async with asyncio.timeout(_BULK_S), asyncio.TaskGroup() as workers:
                for _ in range(_BULK_AT_ONCE):
                    workers.create_task(work())
        except TimeoutError:
            _log.info("exchanges_left_for_later", app=app, locations=len(waiting))


def _not_yet(row: Installation) -> RefreshFailed | InstallationMissing:
    after = row.retry_at - row.now if row.retry_at else None
    if row.state == "active":
        return RefreshFailed(f"fetching the token of {row.app} for {row.tenant} failed a moment ago", after=after)
    return InstallationMissing(f"{row.app} has no token for {row.tenant} (it is {row.state})", after=after)
