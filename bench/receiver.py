"""The receiver beside bare aiohttp, both asked by the same client over 64 connections.

The server runs in a process of its own; its CPU time is what tells most on two cores, which the client shares.
"""

import asyncio
import multiprocessing
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import orjson
import psutil
from aiohttp import web

from bench.parts import APP, show
from ingest.run import run_receiver
from levelgate.broker import apply_topics
from levelgate.local.processes import free_port
from levelgate.simulator.keys import SimulatorKeys
from schemas.logs import configure_logs
from schemas.samples import samples
from schemas.settings import Settings

_CONNECTIONS = 64


class Figures(msgspec.Struct, frozen=True):
    """One server's run."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_10k: float


def measure(settings: Settings, keys: SimulatorKeys, count: int) -> None:
    """Send `count` webhooks to each server and print the figures."""
    asyncio.run(apply_topics(settings.kafka, settings.receiver.max_body_bytes))
    posts = _signed(settings, keys, count)
    port = free_port()
    bare = _run(_serve_bare, (port,), f"http://127.0.0.1:{port}/", posts)
    ours = _run(_serve_receiver, (settings,), f"http://127.0.0.1:{settings.receiver.port}/webhooks/{APP}", posts)
    rows = [
        [
            name,
            f"{figures.per_s:,.0f}",
            f"{figures.per_s / bare.per_s:.2f}",
            f"{figures.p50_ms:.1f}",
            f"{figures.p99_ms:.1f}",
            f"{figures.cpu_s_per_10k:.2f}",
        ]
        for name, figures in (("bare aiohttp, no work", bare), ("levelgate receiver", ours))
    ]
    show(
        f"receiver: {count:,} signed webhooks, {_CONNECTIONS} connections, acks=all",
        ["server", "webhooks/s", "of bare", "p50 ms", "p99 ms", "CPU s per 10,000"],
        rows,
    )


def _signed(settings: Settings, keys: SimulatorKeys, count: int) -> list[tuple[bytes, dict[str, str]]]:
    bodies = [s.body for s in samples() if isinstance(s.body, dict) and not s.in_path and not s.provider]
    now = datetime.now(UTC).isoformat()
    posts = []
    for number in range(count):
        fresh = {"appId": settings.apps[APP].app_id, "webhookId": f"bench-{number}", "timestamp": now}
        body = orjson.dumps(bodies[number % len(bodies)] | fresh)
        posts.append((body, keys.headers(body, "ed25519") | {"Content-Type": "application/json"}))
    return posts


def _run(serve: Any, arguments: tuple[Any, ...], url: str, posts: list[tuple[bytes, dict[str, str]]]) -> Figures:  # noqa: ANN401 -- a process's target
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments)
    process.start()
    try:
        return asyncio.run(_ask(url, posts, psutil.Process(process.pid)))
    finally:
        process.terminate()
        process.join()


async def _ask(url: str, posts: list[tuple[bytes, dict[str, str]]], server: psutil.Process) -> Figures:
    took: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS)) as session:
        await _until_it_answers(session, url, posts[0])
        waiting = iter(posts[1:])

        async def client() -> None:
            for body, headers in waiting:
                began = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as answer:
                    answer.raise_for_status()
                took.append(time.perf_counter() - began)

        cpu = sum(server.cpu_times()[:2])
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(_CONNECTIONS)))
        seconds = time.perf_counter() - began
        cpu = sum(server.cpu_times()[:2]) - cpu
    took.sort()
    return Figures(
        per_s=len(took) / seconds,
        p50_ms=took[len(took) // 2] * 1000,
        p99_ms=took[len(took) * 99 // 100] * 1000,
        cpu_s_per_10k=cpu * 10_000 / len(took),
    )


async def _until_it_answers(session: aiohttp.ClientSession, url: str, post: tuple[bytes, dict[str, str]]) -> None:
    body, headers = post
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


def _serve_receiver(settings: Settings) -> None:
    configure_logs(settings.log)
    asyncio.run(run_receiver(settings))


def _serve_bare(port: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"status": "accepted"})

    app = web.Application()
    app.router.add_post("/", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)
