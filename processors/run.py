"""`levelgate worker`: one worker process, from its settings to its exit."""

import asyncio
import signal
from collections.abc import Sequence
from types import ModuleType

from processors.app import build_worker
from schemas.settings import Settings


async def run_worker(settings: Settings, built_in: Sequence[ModuleType]) -> None:
    """Work until SIGTERM or SIGINT. Raises Misconfigured before anything is opened, else what ended the worker."""
    worker = build_worker(settings, built_in=built_in)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
