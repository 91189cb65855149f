"""What `replay start` and `replay resume` share: publishing in the foreground, and how it ends."""

import os
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from levelgate.cli.output import Reporter, print_json
from levelgate.cli.replays.showing import as_shown

if TYPE_CHECKING:
    from processors.replays.cursor import Cursor
    from processors.replays.publishing import Progress
    from processors.replays.selection import Selection
    from processors.replays.table import Replay
    from schemas.settings import Settings

DEFAULT_RATE = 100.0
"""Deliveries a second."""

_DRAWN = secrets.token_hex(4)
"""Once a process: containers may share a host name, and the process is number 1 in each."""


def publisher_name() -> str:
    """Return the name under which this process holds a replay's lease."""
    return f"{socket.gethostname()}-{os.getpid()}-{_DRAWN}"


def begin(selection: "Selection", cursor: "Cursor", rate: float, total: int) -> "Replay":
    """Write a new replay down, its lease ours."""
    from datetime import UTC, datetime

    from levelgate.cli.connections import open_pool, run
    from processors.replays.table import create, new_id

    async def act(settings: "Settings") -> "Replay":
        async with open_pool(settings) as pool:
            return await create(
                pool,
                replay_id=new_id(datetime.now(UTC)),
                publisher=publisher_name(),
                selection=selection,
                cursor=cursor,
                rate=rate,
                total=total,
            )

    return run(act)


def publish(replay: "Replay", *, as_json: bool) -> None:
    """Publish what is left of a replay whose lease is ours, with a bar; say how it ended."""
    from levelgate.cli.connections import open_pool, run
    from processors.replays import publishing, table

    reporter = Reporter()
    reporter.say(f"replay {replay.id}: Ctrl-C or `levelgate replay pause {replay.id}` stop it, resumable")

    async def act(settings: "Settings") -> "Replay":
        async with open_pool(settings) as pool:
            with reporter.progress("events published", replay.total) as advance:
                await publishing.publish(settings, pool, replay, publisher_name(), told=_teller(reporter, advance))
            return await table.find(pool, replay.id)

    try:
        ended = run(act)
    except KeyboardInterrupt:
        reporter.say(f"stopped: `levelgate replay resume {replay.id}` goes on")
        raise
    if as_json:
        print_json(as_shown(ended))
    else:
        click.echo(_sentence(ended))


def _teller(reporter: Reporter, advance: Callable[[int], None]) -> "Callable[[Progress], None]":
    waits = False

    def told(progress: "Progress") -> None:
        nonlocal waits
        advance(progress.published)
        if progress.waits_for and not waits:
            reporter.say(f"waits for {progress.waits_for}")
        waits = progress.waits_for is not None

    return told


def _sentence(replay: "Replay") -> str:
    counted = f"{replay.published} of {replay.total} published"
    if replay.skipped:
        counted += f", {replay.skipped} too large for the topic skipped"
    if replay.lost:
        counted += f"; retention took {replay.lost} records before they were read"
    match replay.state:
        case "paused":
            return f"{replay.id} is paused, {counted}: `levelgate replay resume {replay.id}` goes on"
        case "cancelled":
            return f"{replay.id} is cancelled, {counted}: workers skip what they have not run yet"
        case _:
            return f"{replay.id}: {counted}; `levelgate replay status {replay.id}` shows what became of them"
