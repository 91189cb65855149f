"""One run of a handler, and what a worker would make of it: for the test kit and for rehearsals.

The verdict is the worker's own (`retries.judge`); nothing is recorded anywhere.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from levelgate import Context
from processors.registry import Handler
from processors.retries import Die, Policy, judge
from schemas.events import Event


class Outcome(msgspec.Struct, frozen=True):
    """What a worker would make of the run."""

    state: Literal["done", "retry", "dead"]
    error: BaseException | None = None
    after: timedelta | None = None
    """How long it is parked until its next run, where it is to be run again."""
    reason: Literal["retry", "waiting", "permanent", "attempts", "deadline"] | None = None
    """retry: it failed · waiting: this run counts as none · permanent, attempts, deadline: why it is dead."""


async def failure_of(handler: Handler, event: Event, ctx: Context, *, timeout_s: float | None) -> BaseException | None:
    """Run a handler once; return what it raised, None where it ended well. A cancellation of ours goes through."""
    try:
        async with asyncio.timeout(timeout_s):
            await handler.function(event, ctx)
    except asyncio.CancelledError as error:
        # Only a cancellation of this very task is ours; a handler may also let one of its own escape.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 -- a stranger's code: its error is what is judged
        return error
    return None


def verdict(failure: BaseException | None, *, attempt: int, received_at: datetime, policy: Policy) -> Outcome:
    """Return what a worker would make of a run that ended now; `attempt` counts from 1, `failure` is what it raised."""
    if failure is None:
        return Outcome("done")
    now = datetime.now(UTC)
    judged = judge(
        failure,
        attempts=attempt - 1,
        received_at=received_at,
        policy=policy,
        now=now,
        rng=random.Random(0),  # noqa: S311 -- the same wait each time
    )
    if isinstance(judged, Die):
        return Outcome("dead", failure, reason=judged.reason)
    # Why it waits is the worker's affair: a handler's author needs to know that it does.
    reason = "waiting" if judged.reason == "disconnected" else judged.reason
    return Outcome("retry", failure, after=judged.due_at - now, reason=reason)
