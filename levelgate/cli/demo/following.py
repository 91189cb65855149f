"""Follows deliveries to their end: until each is handled, quarantined or dead, as the delivery index has it."""

import asyncio
import time
from collections.abc import Callable, Collection

from processors.deliveries import State, states
from processors.sql import Pool

_POLL_S = 0.2
_BATCH = 2000
_STANDSTILL_S = 30.0
"""With everything read and nothing but parked pairs left, this long without a change counts as the end."""

_ENDS = frozenset({"handled", "quarantined", "dead"})


async def follow(
    pool: Pool, deliveries: Collection[str], *, within_s: float, advance: Callable[[int], None]
) -> dict[str, State]:
    """Return each delivery's state when all have ended, nothing moves any more, or the time is up.

    One that no worker has read by then is `accepted`. `advance` is told how many have ended.
    """
    found: dict[str, State] = dict.fromkeys(deliveries, "accepted")
    deadline = time.monotonic() + within_s
    changed_at = time.monotonic()
    while True:
        asked_at = time.monotonic()
        going_on = [delivery for delivery, state in found.items() if state not in _ENDS]
        before = dict(found)
        for first in range(0, len(going_on), _BATCH):
            found |= await states(pool, going_on[first : first + _BATCH])
        going_on = [delivery for delivery, state in found.items() if state not in _ENDS]
        advance(len(found) - len(going_on))
        now = time.monotonic()
        if found != before:
            changed_at = now
        stands_still = now - changed_at > _STANDSTILL_S and all(found[each] == "parked" for each in going_on)
        if not going_on or now > deadline or stands_still:
            return found
        # A long question is asked less often.
        await asyncio.sleep(max(_POLL_S, 2 * (now - asked_at)))
