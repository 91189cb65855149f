"""`levelgate replay pause ID`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json
from levelgate.cli.replays.showing import as_shown

if TYPE_CHECKING:
    from processors.replays.table import Replay
    from schemas.settings import Settings


@click.command(
    "pause",
    epilog=example(
        """
levelgate replay pause r-20261124-153000-ab12
"""
    ),
)
@click.argument("replay_id")
@json_option
def command(*, replay_id: str, as_json: bool) -> None:
    """Let a replay stop publishing; what is published already, workers run.

    The process that publishes it sees this within a second or two, saves how far it is, and ends.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.replays.table import change

    async def act(settings: "Settings") -> "Replay":
        async with open_pool(settings) as pool:
            return await change(pool, replay_id, "pause")

    replay = run(act)
    if as_json:
        print_json(as_shown(replay))
    else:
        click.echo(f"{replay_id} is paused: `levelgate replay resume {replay_id}` goes on")
