"""Replays of a test, started in this process: planned and created as `levelgate replay start` does it."""

from datetime import UTC, datetime

from processors.replays import table
from processors.replays.publishing import publish
from processors.replays.reading import frozen, selected
from processors.replays.room import BOUNDS

PUBLISHER = "the-test"


async def begun(settings, pool, selection, *, rate=10_000.0):
    """A replay of what fits now, nothing of it published yet."""
    cursor, _ = await frozen(settings, pool, selection)
    total = len([record async for record in selected(settings, pool, selection, cursor)])
    return await table.create(
        pool,
        replay_id=table.new_id(datetime.now(UTC)),
        publisher=PUBLISHER,
        selection=selection,
        cursor=cursor,
        rate=rate,
        total=total,
    )


async def publishing(settings, pool, replay, *, told=lambda _progress: None, most=BOUNDS):
    """Publish what is left of it; its state then."""
    return await publish(settings, pool, replay, PUBLISHER, told=told, most=most)


async def replayed(settings, pool, selection):
    """A replay of what fits now, all of it published; its id."""
    replay = await begun(settings, pool, selection)
    assert await publishing(settings, pool, replay) == "finished"
    return replay.id
