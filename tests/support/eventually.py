"""Waiting for something that another process or task does, without guessing how long it takes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

_POLL_S = 0.02


async def eventually(
    probe: Callable[[], Awaitable[Any] | Any],
    ready: Callable[[Any], bool] = bool,
    within_s: float = 10,
) -> Any:
    """Ask `probe` (plain or async) until its answer is `ready`, and return that; else fail with the last one."""
    deadline = time.monotonic() + within_s
    while True:
        answer = probe()
        seen = await answer if inspect.isawaitable(answer) else answer
        if ready(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within_s:g} s; last seen: {seen!r}")
        await asyncio.sleep(_POLL_S)


async def settle() -> None:
    """Let the tasks of this loop that wait for nothing outside go on, to their next wait."""
    for _ in range(5):
        await asyncio.sleep(0)
