"""Whether the worker lives, whether it works on what it was assigned, and what it counts: its one port."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Health(msgspec.Struct, frozen=True):
    """How a worker is at a moment."""

    worker: str
    is_ready: bool
    partitions: dict[str, int]
    """How many partition numbers are in which phase."""
    circuit_open: list[str]
    """Which dependencies fail for everyone."""
    braked: list[str]
    """Which handlers stand still because they fail too much."""
    stalled_s: float | None
    """For how long nothing has moved, where that is too long."""


@asynccontextmanager
async def serve_health(
    host: str, port: int, collector: CollectorRegistry, health: Callable[[], Health]
) -> AsyncIterator[int]:
    """Answer `GET /livez`, `/readyz` and `/metrics`; yields the port, which the system chooses where `port` is 0."""

    async def live(_request: web.Request) -> web.Response:
        # Whoever restarts a process for this answer ends what else would stand still for good.
        stalled_s = health().stalled_s
        if stalled_s is not None:
            return web.json_response({"status": "stalled", "stalled_s": round(stalled_s)}, status=503)
        return web.json_response({"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        now = health()
        # A worker that stands still because of others is ready: restarting it does not help.
        return web.json_response(
            {
                "status": "ready" if now.is_ready else "not ready",
                "worker": now.worker,
                "partitions": now.partitions,
                "circuit_open": now.circuit_open,
                "braked": now.braked,
            },
            status=200 if now.is_ready else 503,
        )

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(collector), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
