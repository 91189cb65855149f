"""`levelgate …` of a test, as a process of its own."""

import asyncio
import sys
from contextlib import asynccontextmanager

from tests.support.worker_processes import HANDLERS, environment


@asynccontextmanager
async def started(settings, *arguments, handlers=HANDLERS, **variables):
    """The process of a command, its streams piped; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "levelgate", *arguments),
        env=environment(settings, handlers) | variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def levelgate(settings, *arguments, answer=b"", **changes) -> tuple[int, str, str]:
    """Run a command to its end: its exit code, what it printed, what it said of errors."""
    async with started(settings, *arguments, **changes) as process:
        output, errors = await asyncio.wait_for(process.communicate(answer), 60)
    return process.returncode, output.decode(), errors.decode()
