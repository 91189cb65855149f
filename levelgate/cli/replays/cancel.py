"""`levelgate replay cancel ID`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json
from levelgate.cli.replays.showing import as_shown

if TYPE_CHECKING:
    from processors.replays.table import Replay
    from schemas.settings import Settings


@click.command(
    "cancel",
    epilog=example(
        """
levelgate replay cancel r-20261124-153000-ab12
levelgate replay cancel r-20261124-153000-ab12 --yes
"""
    ),
)
@click.argument("replay_id")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
def command(*, replay_id: str, yes: bool, as_json: bool) -> None:
    """End a replay for good: nothing more is published, and workers skip what they have not run yet.

    What has run stays done, what is dead stays dead; its parked pairs go when their time comes. Live events are not
    touched, nor are the events themselves: a new replay can run them.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.replays.table import change

    async def act(settings: "Settings") -> "Replay":
        async with open_pool(settings) as pool:
            return await change(pool, replay_id, "cancel")

    if not yes:
        click.confirm(f"Cancel {replay_id} for good?", abort=True, err=True)
    replay = run(act)
    if as_json:
        print_json(as_shown(replay))
    else:
        click.echo(f"{replay_id} is cancelled: workers skip what they have not run yet, within seconds")
