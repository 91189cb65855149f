"""When a refused webhook is sent again, by the newest documented rule (facts.md, Retries: the guide of 2026-08 on).

Pure. Any answer but 2xx, and none, is tried again up to 12 times, exponentially later, with jitter; the first 2xx ends
it. The intervals are unknown: a minute, doubled each time, makes the three days that an older page names.
"""

FIRST_DELAY_S = 60.0
MORE_TRIES = 12
JITTER_RATIO = 0.25


def delay_s(tries: int, *, chance: float, speedup: float) -> float | None:
    """Return how long to wait after so many tries, or None when that was the last; `chance` is from 0 to 1."""
    if tries > MORE_TRIES:
        return None
    jitter = 1 + JITTER_RATIO * (2 * chance - 1)
    return FIRST_DELAY_S * float(2 ** (tries - 1)) * jitter / speedup
