"""The receiver as a process: its two ports, its signals, and its end.

At the first SIGTERM or SIGINT new webhooks are refused with 429, those taken are answered, and only
then are the ports closed. A second one ends the process at once.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from ingest.app import WEBHOOKS, build_receiver
from ingest.health import build_metrics
from schemas.errors import Misconfigured
from schemas.logs import get_logger
from schemas.settings import Settings

_SHUTDOWN_S = 10.0
"""For what is not a webhook, such as an OAuth callback in the middle of its code exchange."""

_LINGER_S = 1.0
"""How long the rest of a refused body is read and dropped, so that its sender gets to see the answer."""

log = get_logger(__name__)


async def run_receiver(settings: Settings) -> None:
    """Serve until a signal comes. Raises Misconfigured where a port is taken, or a key is none."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    app = build_receiver(settings, registry)
    receiver = settings.receiver
    async with (
        serve(app, receiver.host, receiver.port) as port,
        serve(build_metrics(registry), receiver.host, receiver.metrics_port) as metrics_port,
    ):
        log.info("receiver_started", port=port, metrics_port=metrics_port, apps=sorted(settings.apps))
        await _stop_signal()
        log.info("receiver_stopping")
        await app[WEBHOOKS].stop(receiver.grace_s)
    log.info("receiver_stopped")


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` and yield the port, which is a free one where `port` is 0. Raises Misconfigured if it is taken."""
    runner = web.AppRunner(
        app,
        access_log=None,  # it would write the provider route's secret, and the callback's code
        logger=_ServerLog(logging.getLogger("aiohttp.server"), {}),
        auto_decompress=False,  # a signature is over the bytes as sent; a small body can't become a large one
        lingering_time=_LINGER_S,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Misconfigured([f"port {port} can't be listened on at {host}: {error.strerror}"]) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log of requests that are no HTTP, without their text: it repeats the path, and so a secret."""

    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        error = kwargs.pop("exc_info", None)
        kind = type(error).__name__ if isinstance(error, BaseException) else "no details"
        return f"{msg} ({kind})", kwargs

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 -- the base's signature
        # Anybody can send what is no HTTP: that is no error of ours.
        self.warning(msg, *args, **kwargs)


async def _stop_signal() -> None:
    """Return at the first SIGTERM or SIGINT; the next one does what it does by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        await stop.wait()
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)
