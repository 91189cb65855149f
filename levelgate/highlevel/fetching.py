"""Fetch tokens from the vendor under a lease: one refresh or exchange, and what each answer means for the row.

The caller (`tokens.py`) reads the row, asks `installations.next_step`, and comes here for REFRESH and EXCHANGE; then
it looks at the row again. The call to the vendor runs outside any transaction and holds no connection.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

import aiohttp
from pydantic import SecretStr

from levelgate.highlevel import oauth
from levelgate.highlevel.installations import Installation, Step
from levelgate.highlevel.oauth import Grant, GrantRefused, Refusal
from levelgate.highlevel.token_table import TokenTable
from schemas.errors import ApiUnavailable, InstallationMissing, RateLimited, RefreshFailed, RefreshUnanswered
from schemas.ids import AppName, CompanyId, LocationId, TenantId
from schemas.logs import get_logger
from schemas.metrics import ApiMetrics
from schemas.settings import App, Vendor

_log = get_logger(__name__)

_UNANSWERED_TRIES = 3
"""At most 8 s each: the last one begins within the vendor's 30 s of grace."""
_UNANSWERED_PAUSE_S = 0.2
_RETRY_S = 5.0
"""After a failed fetch nobody asks the vendor again before this."""
_MISSING_RETRY_S = 60.0
"""The same after an answer that only a person's act changes."""


class TokenSource(Protocol):
    """Where access tokens come from: the token store, for API calls and for exchanges of a company's token."""

    async def access_token(self, app: AppName, tenant: TenantId) -> SecretStr:
        """Return a token that is good for a minute at least."""
        ...

    async def reject(self, app: AppName, tenant: TenantId, token: SecretStr) -> bool:
        """Forget a token that was answered with 401; return whether asking again can bring another."""
        ...


class TokenFetch:
    """The attempts of one flight for one installation."""

    def __init__(
        self,
        table: TokenTable,
        session: aiohttp.ClientSession,
        vendor: Vendor,
        app: App,
        *,
        companies: TokenSource,
        metrics: ApiMetrics,
    ) -> None:
        self._table = table
        self._session = session
        self._vendor = vendor
        self._app = app
        self._companies = companies
        self._metrics = metrics
        self._unanswered = 0
        self._rejected = False

    async def once(self, row: Installation, step: Step) -> None:
        """Make one attempt, if the row is still as it was read; then it is to be read again.

        Raises InstallationMissing, RefreshFailed, RateLimited where reading it again would bring nothing.
        """
        # The company's token first: it may take a refresh of its own, which no lease of ours should wait for.
        token = await self._company_token(row) if step is Step.EXCHANGE else self._table.refresh_token(row)
        version = await self._table.take_lease(row)
        if version is None:
            return
        try:
            grant = await self._call(row, step, token)
        except GrantRefused as refused:
            await self._refused(row, version, step, token, refused)
        except RateLimited as limited:
            self._count(row, "rate_limited")
            wait = limited.after or timedelta(seconds=_RETRY_S)
            await self._table.end_lease(row, version, retry_in_s=wait.total_seconds())
            raise
        except ApiUnavailable as unavailable:
            await self._not_answered(row, version, unavailable)
        else:
            is_refresh = step is Step.REFRESH
            if await self._table.write_tokens(row, version, grant, keeps_refresh_token=is_refresh):
                self._count(row, "refreshed" if is_refresh else "exchanged")

    async def _call(self, row: Installation, step: Step, token: SecretStr) -> Grant:
        if step is Step.REFRESH:
            return await oauth.refresh(self._session, self._vendor, self._app, refresh_token=token, level=row.level)
        return await oauth.location_token(
            self._session,
            self._vendor,
            company_token=token,
            company=_company(row),
            location=LocationId(row.tenant),
        )

    async def _company_token(self, row: Installation) -> SecretStr:
        company = _company(row)
        try:
            return await self._companies.access_token(row.app, TenantId(company))
        except InstallationMissing as missing:
            raise InstallationMissing(
                f"{row.app} has no token for {row.tenant}, nor for its company {company}: it must be installed again",
                after=missing.after,
            ) from None

    async def _refused(
        self, row: Installation, version: int, step: Step, token: SecretStr, refused: GrantRefused
    ) -> None:
        if refused.refusal is Refusal.INACTIVE:
            self._count(row, "inactive")
            # The refresh token works again once the location is active: it stays (facts.md §1, Refusals).
            await self._table.end_lease(row, version, state="inactive", retry_in_s=_MISSING_RETRY_S)
            raise InstallationMissing(
                f"HighLevel says that {row.tenant} is not active", after=timedelta(seconds=_MISSING_RETRY_S)
            )
        self._count(row, "refused")
        _log.warning(
            "token_refused",
            app=row.app,
            tenant=row.tenant,
            step=step.value,
            reason=refused.refusal.value,
            status=refused.status,
        )  # fmt: skip -- one call, one glance
        if step is Step.EXCHANGE:
            await self._exchange_refused(row, version, token, refused)
        elif refused.refusal is Refusal.INVALID_GRANT:
            await self._table.end_lease(row, version, state="broken")
        else:
            await self._table.end_lease(row, version, retry_in_s=_RETRY_S)
            raise RefreshFailed(
                f"refreshing the token of {row.app} for {row.tenant}: {refused}", after=_after(_RETRY_S)
            )

    async def _exchange_refused(self, row: Installation, version: int, token: SecretStr, refused: GrantRefused) -> None:
        if refused.refusal is Refusal.UNAUTHORIZED and not self._rejected:
            self._rejected = True
            if await self._companies.reject(row.app, TenantId(_company(row)), token):
                await self._table.end_lease(row, version)
                return
        await self._table.end_lease(row, version, retry_in_s=_MISSING_RETRY_S)
        raise InstallationMissing(
            f"HighLevel gives the company {_company(row)} no token for {row.tenant}: {refused}",
            after=_after(_MISSING_RETRY_S),
        )

    async def _not_answered(self, row: Installation, version: int, unavailable: ApiUnavailable) -> None:
        """Repeat at once, since the token may have been spent: within the vendor's grace; then give up for a while."""
        self._unanswered += 1
        if self._unanswered < _UNANSWERED_TRIES:
            await self._table.end_lease(row, version)
            await asyncio.sleep(_UNANSWERED_PAUSE_S)
            return
        self._count(row, "failed")
        await self._table.end_lease(row, version, retry_in_s=_RETRY_S)
        raise RefreshUnanswered(
            f"fetching the token of {row.app} for {row.tenant}: {unavailable}", after=_after(_RETRY_S)
        )

    def _count(self, row: Installation, outcome: str) -> None:
        self._metrics.token_refreshes.labels(app=row.app, outcome=outcome).inc()


def _company(row: Installation) -> CompanyId:
    if row.company is None:
        raise TypeError(f"the installation of {row.app} for {row.tenant} names no company")
    return row.company


def _after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
