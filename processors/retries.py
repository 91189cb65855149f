"""What happens after a failed run of a handler: again when, or never. Pure: the clock is passed in."""

import random
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from schemas.errors import Permanent, Poison, Retry, Waiting


class Policy(msgspec.Struct, frozen=True):
    """How often and how fast a failing pair is run again. Durations in seconds."""

    max_attempts: int
    backoff_s: float
    max_backoff_s: float
    waiting_retry_s: float


class Park(msgspec.Struct, frozen=True):
    """Run again at `due_at`; `attempts` is the count that the pair has used up by then."""

    due_at: datetime
    attempts: int
    reason: Literal["retry", "waiting"]


class Die(msgspec.Struct, frozen=True):
    """Give up: the pair becomes a dead letter."""

    attempts: int


def judge(error: BaseException, *, attempts: int, policy: Policy, now: datetime, rng: random.Random) -> Park | Die:
    """Decide what follows `error` of a pair that had used up `attempts` before this run.

    Waiting uses up no attempt (design §9.14); Permanent and Poison end at once; all else is retried
    with exponential backoff and full jitter over its upper half, `Retry.after` being the least.
    """
    if isinstance(error, Waiting):
        after = error.after or timedelta(seconds=policy.waiting_retry_s)
        return Park(now + after + timedelta(seconds=rng.uniform(0, 1)), attempts, "waiting")
    used = attempts + 1
    if isinstance(error, Permanent | Poison) or used >= policy.max_attempts:
        return Die(used)
    # The exponent is bounded before the power is taken: attempts may be many, floats are not endless.
    span = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(attempts, 30))
    wait = timedelta(seconds=rng.uniform(span / 2, span))
    if isinstance(error, Retry) and error.after is not None:
        wait = max(wait, error.after)
    return Park(now + wait, used, "retry")
