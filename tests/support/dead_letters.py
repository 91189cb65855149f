"""Dead letters of a test, chosen and moved as the commands do it."""

from processors.dead_letters import choose_dead, count_dead
from processors.filters import ALL_PAIRS
from processors.redrive import Discarded, discard, redrive


async def chosen(pool, fitting=ALL_PAIRS, **options):
    """All dead pairs that fit, the oldest first."""
    return [pair async for pairs in choose_dead(pool, await count_dead(pool, fitting), **options) for pair in pairs]


async def redriven(pool, fitting=ALL_PAIRS):
    """Redrive all that fit; the pairs that were moved."""
    dead = choose_dead(pool, await count_dead(pool, fitting))
    return [pair async for batch in redrive(pool, dead) for pair in batch]


async def discarded(pool, fitting=ALL_PAIRS):
    """Discard all that fit; the counts."""
    batches = [each async for each in discard(pool, choose_dead(pool, await count_dead(pool, fitting)))]
    return Discarded(sum(each.pairs for each in batches), sum(each.bodies for each in batches))
