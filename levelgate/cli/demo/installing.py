"""Installs an app in the simulator as a person would, in a browser, and sees to it that each location has a token.

Installs nothing anew where it is installed already.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from prometheus_client import CollectorRegistry

from levelgate.cli.simulator_client import SimulatorClient
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.tokens import TokenStore
from levelgate.highlevel.wire import open_session
from processors.sql import Pool
from schemas.errors import LevelgateError, Retry
from schemas.ids import AppName, TenantId
from schemas.metrics import ApiMetrics
from schemas.settings import Settings, parse_token_keys

_PAGE_TIMEOUT = aiohttp.ClientTimeout(total=60)
_TOKENS_WITHIN_S = 120.0
_PAUSE_S = 0.5


@asynccontextmanager
async def open_tokens(settings: Settings, pool: Pool) -> AsyncIterator[TokenStore]:
    """Yield a token store of this process."""
    keyring = KeyRing(parse_token_keys(settings.token_keys))
    async with open_session() as session:
        tokens = TokenStore(pool, keyring, session, settings, ApiMetrics(CollectorRegistry()))
        try:
            yield tokens
        finally:
            await tokens.aclose()


async def is_installed(
    app: AppName, tokens: TokenStore, simulator: SimulatorClient, tenants: Collection[TenantId] = ()
) -> bool:
    """Whether both sides know the app as installed for the demo's agency, and ours all of `tenants`."""
    status = await simulator.status()
    installations = {each.tenant: each.state for each in await tokens.installations(app)}
    there = {tenant for tenant, state in installations.items() if state != "gone"}
    return (
        status["apps"].get(app, {}).get("installed", 0) > 0
        and installations.get(TenantId(status["company"])) == "active"
        and set(tenants) <= there
    )


async def install_in_browser(settings: Settings, app: AppName) -> None:
    """Go the whole way of a bulk install: start page, consent page, the yes, callback.

    Raises LevelgateError where the last page is not the one that says so.
    """
    start = f"{settings.receiver.public_url}/oauth/start/{app}"
    callback = f"/oauth/callback/{app}"
    # unsafe: a receiver on an IP address may set its cookie, too
    jar = aiohttp.CookieJar(unsafe=True)
    try:
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=_PAGE_TIMEOUT) as browser:
            async with browser.get(start) as consent:
                if consent.status != HTTPStatus.OK:
                    raise LevelgateError(f"the consent page of {app} answered {consent.status}")
            async with browser.post(consent.url) as page:
                if page.status != HTTPStatus.OK or page.url.path != callback:
                    raise LevelgateError(
                        f"the install of {app} did not end well: {page.url.path} answered {page.status}"
                    )
    except (aiohttp.ClientError, TimeoutError) as error:
        # The error's own text may hold the code.
        raise LevelgateError(f"the install of {app} broke off ({type(error).__name__}): does {start} answer?") from None


async def fetch_tokens(
    app: AppName, tenants: Collection[TenantId], tokens: TokenStore, advance: Callable[[int], None]
) -> None:
    """Return when each of `tenants` has a token. Raises LevelgateError where one can't be had within two minutes."""
    async with asyncio.timeout(None) as limit:
        deadline = asyncio.get_running_loop().time() + _TOKENS_WITHIN_S
        limit.reschedule(deadline + _PAUSE_S)
        for number, tenant in enumerate(tenants, 1):
            while True:
                try:
                    await tokens.access_token(app, tenant)
                except Retry as error:
                    pause_s = max(_PAUSE_S, error.after.total_seconds() if error.after else 0.0)
                    if asyncio.get_running_loop().time() + pause_s > deadline:
                        raise
                    await asyncio.sleep(pause_s)
                else:
                    break
            advance(number)
