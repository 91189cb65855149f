"""`levelgate simulator` as a process: serve until SIGINT or SIGTERM, then let go in good order."""

import asyncio
import os
import signal

from aiohttp import web

from levelgate.simulator.app import build_simulator
from schemas.errors import Misconfigured
from schemas.logs import get_logger
from schemas.settings import Settings, Simulator

_SHUTDOWN_S = 5.0

_log = get_logger(__name__)


async def run_simulator(settings: Settings) -> None:
    """Serve on the settings' host and port until the process is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = make_runner(build_simulator(settings))
    await runner.setup()
    try:
        await _listen(runner, settings.simulator)
        _log.info("simulator_started", url=settings.simulator.url, data_dir=str(settings.simulator.data_dir))
        await stop.wait()
    finally:
        await runner.cleanup()
        _log.info("simulator_stopped")


async def _listen(runner: web.AppRunner, simulator: Simulator) -> None:
    try:
        await web.TCPSite(runner, simulator.host, simulator.port).start()
    except OSError as error:
        where = f"{simulator.host}:{simulator.port}"
        raise Misconfigured([f"the simulator can't listen on {where} ({os.strerror(error.errno or 0)})"]) from error


def make_runner(app: web.Application) -> web.AppRunner:
    """Return what serves the simulator: a caller that gives up ends its request, a stop waits only seconds."""
    return web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S, access_log=None)
