"""`levelgate replay status [ID]`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json, print_table
from levelgate.cli.pairs import limit_option
from levelgate.cli.replays.showing import as_shown, in_words

if TYPE_CHECKING:
    from processors.replays.table import Outcomes, Replay
    from schemas.settings import Settings


@click.command(
    "status",
    epilog=example(
        """
levelgate replay status
levelgate replay status r-20261124-153000-ab12 --json
"""
    ),
)
@click.argument("replay_id", required=False)
@limit_option
@json_option
def command(*, replay_id: str | None, most: int, as_json: bool) -> None:
    """Show replays, the newest first, or one of them: how much is published, and what became of it.

    running: being published · interrupted: its publisher was stopped or killed, `replay resume` goes on · paused ·
    finished: all is published, though the workers may have some of it still to run · cancelled. Done, parked and dead
    count pairs: an event with three handlers counts three times.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.replays import table

    async def read(settings: "Settings") -> "list[tuple[Replay, Outcomes]]":
        async with open_pool(settings) as pool:
            replays = [await table.find(pool, replay_id)] if replay_id else await table.list_replays(pool, most=most)
            counted = await table.outcomes(pool, [each.id for each in replays])
            return [(each, counted[each.id]) for each in replays]

    found = run(read)
    if as_json:
        shown = [as_shown(*each) for each in found]
        print_json(shown[0] if replay_id else shown)
        return
    if replay_id:
        _show(*found[0])
        return
    print_table(
        ("replay", "state", "published", "of", "done", "parked", "dead", "started", "of what"),
        [
            (r.id, r.shown, r.published, r.total, o.done, o.parked, o.dead, r.created_at, in_words(r.selection))
            for r, o in found
        ],
        empty="there are no replays",
    )


def _show(replay: "Replay", outcomes: "Outcomes") -> None:
    click.echo(f"{replay.id}: {replay.shown}, {replay.published} of {replay.total} published")
    click.echo(f"of {in_words(replay.selection)}, at most {replay.rate:g} a second")
    click.echo(f"pairs: {outcomes.done} done, {outcomes.parked} parked, {outcomes.dead} dead")
    ended = f", ended {cell(replay.ended_at)}" if replay.ended_at else ""
    click.echo(f"started {cell(replay.created_at)}, last moved {cell(replay.updated_at)}{ended}")
    if replay.skipped:
        click.echo(f"{replay.skipped} skipped: too large for the topic")
    if replay.lost:
        click.echo(f"retention took {replay.lost} records before they were read")
    if replay.last_error:
        click.echo(f"interrupted by {replay.last_error}")
    if replay.shown in {"interrupted", "paused"}:
        click.echo(f"`levelgate replay resume {replay.id}` goes on")
