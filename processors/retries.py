"""What happens after a failed run of a handler: again when, or never. Pure: the clock is passed in."""

import random
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from levelgate import Ordering, Overrides
from schemas.errors import InstallationMissing, Permanent, Poison, Retry, Waiting
from schemas.settings import Worker

_LONGEST = timedelta(days=365)
"""The longest wait, whatever a handler asks for: when it is over must be a date."""


class Policy(msgspec.Struct, frozen=True):
    """How often and how fast a failing pair is run again, and who waits for it. Durations in seconds."""

    max_attempts: int
    backoff_s: float
    max_backoff_s: float
    waiting_retry_s: float
    timeout_s: float | None = None
    """How long one run may take; None: as long as it likes."""
    deadline_s: float | None = None
    """How long after its delivery was received a pair may be put off; None: for ever."""
    ordering: Ordering = "strict"
    coalesce: bool = False
    """Whether one run may do several events of an entity that wait together."""


class Park(msgspec.Struct, frozen=True):
    """Run again at `due_at`; `attempts` is the count that the pair has used up by then."""

    due_at: datetime
    attempts: int
    reason: Literal["retry", "waiting", "disconnected"]


class Die(msgspec.Struct, frozen=True):
    """Give up: the pair becomes a dead letter."""

    attempts: int
    reason: Literal["permanent", "attempts", "deadline"]


def default_policy(worker: Worker) -> Policy:
    """Return the policy of handlers whose `@on` says nothing of it."""
    return Policy(
        worker.max_attempts,
        worker.backoff_s,
        worker.max_backoff_s,
        worker.waiting_retry_s,
        timeout_s=worker.handler_timeout_s,
    )


def policy_of(overrides: Overrides, defaults: Policy) -> Policy:
    """Return a handler's policy: what its `@on` says, else `defaults`.

    A `backoff` beyond the default cap is its own cap: whoever asks for an hour does not mean less.
    """
    backoff_s = _seconds(overrides.backoff, defaults.backoff_s)
    return Policy(
        max_attempts=overrides.attempts or defaults.max_attempts,
        backoff_s=backoff_s,
        max_backoff_s=_seconds(
            overrides.max_backoff, max(defaults.max_backoff_s, backoff_s if overrides.backoff else 0)
        ),
        waiting_retry_s=defaults.waiting_retry_s,
        timeout_s=overrides.timeout.total_seconds() if overrides.timeout else defaults.timeout_s,
        deadline_s=overrides.deadline.total_seconds() if overrides.deadline else defaults.deadline_s,
        ordering=overrides.ordering,
        coalesce=overrides.coalesce,
    )


def judge(
    error: BaseException,
    *,
    attempts: int,
    received_at: datetime,
    policy: Policy,
    now: datetime,
    rng: random.Random,
    is_excused: bool = False,
) -> Park | Die:
    """Decide what follows `error` of a pair that had used up `attempts` before this run.

    Waiting uses up no attempt (design §9.14), nor does what an outage excuses (`is_excused`: wait as if it were
    Waiting); Permanent and Poison end at once; all else is retried with exponential backoff and full jitter over its
    upper half, `Retry.after` being the least.
    Waiting for an installation is `disconnected`: such pairs come back when their tenant does (`reconnects.py`).
    No pair is put off beyond its deadline, waiting or not: it is shortened to it, or ends where it can't be.
    """
    waiting = is_excused or isinstance(error, Waiting)
    used = attempts if waiting else attempts + 1
    if isinstance(error, Permanent | Poison):
        return Die(used, "permanent")
    if not waiting and used >= policy.max_attempts:
        return Die(used, "attempts")
    least = _asked_for(error)
    if waiting:
        wait = (least or timedelta(seconds=policy.waiting_retry_s)) + timedelta(seconds=rng.uniform(0, 1))
    else:
        # The exponent is bounded before the power is taken: attempts may be many, floats are not endless.
        span = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(attempts, 30), _LONGEST.total_seconds())
        wait = max(least, timedelta(seconds=rng.uniform(span / 2, span)))
    if policy.deadline_s is not None:
        left = timedelta(seconds=policy.deadline_s) - (now - received_at)
        if left <= timedelta() or least > left:
            return Die(used, "deadline")
        wait = min(wait, left)
    if isinstance(error, InstallationMissing):
        return Park(now + wait, used, "disconnected")
    return Park(now + wait, used, "waiting" if waiting else "retry")


def _asked_for(error: BaseException) -> timedelta:
    # A subclass of theirs may leave it out, or set it to anything.
    after = getattr(error, "after", None) if isinstance(error, Retry) else None
    return min(after, _LONGEST) if isinstance(after, timedelta) else timedelta()


def _seconds(said: timedelta | None, default: float) -> float:
    return said.total_seconds() if said is not None else default
