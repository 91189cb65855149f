"""`levelgate replay resume ID`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option
from levelgate.cli.replays.choosing import not_tenant_option, rate_option
from levelgate.cli.replays.running import publish, publisher_name

if TYPE_CHECKING:
    from processors.replays.table import Replay
    from schemas.settings import Settings


@click.command(
    "resume",
    epilog=example(
        """
levelgate replay resume r-20261124-153000-ab12
levelgate replay resume r-20261124-153000-ab12 --rate 20
levelgate replay resume r-20261124-153000-ab12 --not-tenant ve9EPM428h8vShlRW1KT
"""
    ),
)
@click.argument("replay_id")
@rate_option(default=None)
@not_tenant_option
@json_option
def command(*, replay_id: str, rate: float | None, not_tenants: tuple[str, ...], as_json: bool) -> None:
    """Go on with a replay that was paused, interrupted or killed, in the foreground, from where it was saved.

    Without --rate at the rate of before. After a kill its lease has to run out first: 15 seconds. It reads up to where
    the topics ended when it was started, not further.

    With --not-tenant it goes on without a tenant that holds it up, this time and from now on. What was published of it
    stays and runs when it can; the rest of it is for another replay.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.replays.table import take

    async def act(settings: "Settings") -> "Replay":
        async with open_pool(settings) as pool:
            return await take(pool, replay_id, publisher_name(), rate=rate, not_tenants=not_tenants)

    publish(run(act), as_json=as_json)
