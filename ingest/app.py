"""The receiver's composition root: everything is made here, and passed on as an argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import asyncpg
from aiohttp import web
from prometheus_client import CollectorRegistry

from ingest.acceptance import Acceptance
from ingest.callback import TOKENS, VENDOR_SESSION, Callback
from ingest.health import Health
from ingest.publisher import Publisher
from ingest.webhooks import Webhooks
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.tokens import TokenStore
from schemas.metrics import ApiMetrics, ReceiverMetrics
from schemas.settings import Settings, parse_token_keys
from schemas.topics import Topics

WEBHOOKS = web.AppKey("webhooks", Webhooks)
PUBLISHER = web.AppKey("publisher", Publisher)

_STOP_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_QUERY_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 4
"""Of the callback alone; webhooks need no database."""


def build_receiver(settings: Settings, registry: CollectorRegistry) -> web.Application:
    """Wire the receiver; opens nothing until the app starts, and starts with Kafka and Postgres away."""
    metrics = ReceiverMetrics(registry)
    topics = Topics(settings.kafka)
    publisher = Publisher(
        settings.kafka,
        metrics,
        max_body_bytes=settings.receiver.max_body_bytes,
        timeout_s=settings.receiver.publish_timeout_s,
    )
    stale_after = timedelta(days=settings.receiver.stale_after_days)
    acceptances = {name: Acceptance(name, app, topics, stale_after=stale_after) for name, app in settings.apps.items()}
    webhooks = Webhooks(settings.receiver, settings.apps, acceptances, publisher, topics, metrics)
    app = web.Application(client_max_size=settings.receiver.max_body_bytes)
    app[PUBLISHER] = publisher
    app[WEBHOOKS] = webhooks
    app.add_routes(
        [
            *webhooks.routes(),
            *Callback(settings, metrics).routes(),
            *Health(publisher, webhooks).routes(),
        ]
    )
    app.cleanup_ctx.append(_publishing)
    app.cleanup_ctx.append(_token_keeping(settings, ApiMetrics(registry)))
    return app


async def _publishing(app: web.Application) -> AsyncIterator[None]:
    app[PUBLISHER].start()
    yield
    await app[PUBLISHER].stop(_STOP_S)


def _token_keeping(settings: Settings, metrics: ApiMetrics) -> Callable[[web.Application], AsyncIterator[None]]:
    keyring = KeyRing(parse_token_keys(settings.token_keys))

    async def keep(app: web.Application) -> AsyncIterator[None]:
        async with (
            _pool(settings.database_url.get_secret_value()) as pool,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            app[VENDOR_SESSION] = session
            app[TOKENS] = TokenStore(pool, keyring, session, settings, metrics)
            yield
            await app[TOKENS].aclose()

    return keep


@asynccontextmanager
async def _pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    # min_size=0 connects at the first use: the receiver takes webhooks while Postgres is away (design §9.13).
    pool = await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=_QUERY_TIMEOUT_S,
    )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(_STOP_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()
