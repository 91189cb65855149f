"""Our side of the vendor for tests: a token store and an API client on a real database and the simulator."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import msgspec
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from levelgate.highlevel.client import HighLevelClient
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.oauth import Grant
from levelgate.highlevel.tokens import TokenStore
from levelgate.highlevel.wire import open_session
from schemas.ids import AppName, LocationId
from schemas.metrics import ApiMetrics
from schemas.settings import Settings, parse_token_keys
from tests.fixtures.simulator import RunningSimulator


async def connect(settings: Settings, simulator: RunningSimulator, *locations: str) -> None:
    """Install the app on locations and store the tokens, as the browser's callback would."""
    async with our_side(settings) as ours:
        for location in locations:
            answer = simulator.grant(location)
            grant = Grant(
                access_token=SecretStr(answer["access_token"]),
                refresh_token=SecretStr(answer["refresh_token"]),
                level="location",
                location=LocationId(location),
            )
            await ours.tokens.store_grant(AppName("demo"), grant)


class OurSide(msgspec.Struct, frozen=True):
    """What one process has: nothing of it is shared with another's but the database."""

    pool: asyncpg.Pool
    session: aiohttp.ClientSession
    tokens: TokenStore
    client: HighLevelClient
    registry: CollectorRegistry


@contextlib.asynccontextmanager
async def our_side(settings: Settings) -> AsyncIterator[OurSide]:
    """Open all of it as a process would, and close it in the order that a process must."""
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)
    keyring = KeyRing(parse_token_keys(settings.token_keys))
    url = settings.database_url.get_secret_value()
    async with asyncpg.create_pool(url, min_size=0, max_size=2) as pool, open_session() as session:
        tokens = TokenStore(pool, keyring, session, settings, metrics)
        try:
            yield OurSide(pool, session, tokens, HighLevelClient(session, settings.vendor, tokens, metrics), registry)
        finally:
            await tokens.aclose()
