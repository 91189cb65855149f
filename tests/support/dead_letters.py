"""Dead letters of a test: made by a handler that fails, chosen and moved as the commands do it."""

from levelgate import Permanent
from processors.dead_letters import choose_dead, count_dead
from processors.filters import ALL_PAIRS
from processors.redrive import Discarded, discard, redrive
from tests.support.deliveries import delivery, publish, until
from tests.support.workers import handler, working


class Switch:
    """A handler that fails while it is broken, and notes each run."""

    def __init__(self, *broken):
        self.broken = set(broken)
        self.runs: list[str] = []
        self.attempts: list[int] = []

    async def switch(self, _event, ctx):
        self.runs.append(ctx.delivery.id)
        self.attempts.append(ctx.delivery.attempt)
        if ctx.delivery.id in self.broken:
            raise Permanent(f"broken for {ctx.delivery.id}")


async def killed(settings, pool, count, **changes):
    """As many deliveries, each of an entity of its own, that are dead by now; and what killed them."""
    records = [delivery(settings.kafka, entity=f"contact-{n}", **changes) for n in range(count)]
    switch = Switch(*(record.envelope.id for record in records))
    await publish(settings.kafka, records)
    async with working(settings, handler(switch.switch)):
        await until(pool, records, "dead")
    return records, switch


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
