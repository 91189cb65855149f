"""`levelgate replay status [ID]`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json, print_table
from levelgate.cli.pairs import limit_option
from levelgate.cli.replays.showing import as_shown, in_words

if TYPE_CHECKING:
    from processors.replays.table import Outcomes, ParkedTenant, Replay
    from schemas.settings import Settings

_COUNTED_FOR = timedelta(days=1)
_NAMED = 10


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
    count pairs: an event with three handlers counts three times. With an id also: whose pairs are parked and why, and
    what its publisher waits for. The list counts only what is under way or ended within the last day.
    """
    _one(replay_id, as_json=as_json) if replay_id else _list(most, as_json=as_json)


def _one(replay_id: str, *, as_json: bool) -> None:
    from levelgate.cli.connections import open_pool, run
    from processors.replays import table

    async def read(settings: "Settings") -> "tuple[Replay, Outcomes, list[ParkedTenant]]":
        async with open_pool(settings) as pool:
            replay = await table.find(pool, replay_id)
            counted = await table.outcomes(pool, [replay_id])
            return replay, counted[replay_id], await table.parked_by_tenant(pool, replay_id)

    found = run(read)
    if as_json:
        print_json(as_shown(*found))
    else:
        _show(*found)


def _list(most: int, *, as_json: bool) -> None:
    from levelgate.cli.connections import open_pool, run
    from processors.replays import table

    async def read(settings: "Settings") -> "list[tuple[Replay, Outcomes | None]]":
        async with open_pool(settings) as pool:
            replays = await table.list_replays(pool, most=most)
            # To count a large one takes seconds: not all that there ever were, each time.
            lately = datetime.now(UTC) - _COUNTED_FOR
            counted = await table.outcomes(
                pool, [each.id for each in replays if each.ended_at is None or each.ended_at > lately]
            )
            return [(each, counted.get(each.id)) for each in replays]

    found = run(read)
    if as_json:
        print_json([as_shown(*each) for each in found])
        return
    print_table(
        ("replay", "state", "published", "of", "done", "parked", "dead", "started", "of what"),
        [(r.id, r.shown, r.published, r.total, *_counts(o), r.created_at, in_words(r.selection)) for r, o in found],
        empty="there are no replays",
    )


def _counts(outcomes: "Outcomes | None") -> tuple[int | None, int | None, int | None]:
    return (outcomes.done, outcomes.parked, outcomes.dead) if outcomes else (None, None, None)


def _show(replay: "Replay", outcomes: "Outcomes", parked: "list[ParkedTenant]") -> None:
    click.echo(f"{replay.id}: {replay.shown}, {replay.published} of {replay.total} published")
    click.echo(f"of {in_words(replay.selection)}, at most {replay.rate:g} a second")
    click.echo(f"pairs: {outcomes.done} done, {outcomes.parked} parked, {outcomes.dead} dead")
    for each in parked[:_NAMED]:
        click.echo(f"parked of {each}")
    if len(parked) > _NAMED:
        click.echo(f"parked of {len(parked) - _NAMED} tenants more: --json lists them all")
    if replay.waits_for and replay.has_publisher:
        click.echo(f"waits for {replay.waits_for}")
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
