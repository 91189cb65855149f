"""`levelgate dead list`."""

from typing import TYPE_CHECKING, Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from levelgate.cli.pairs import last_error, limit_option, nothing, pair_filters

if TYPE_CHECKING:
    from processors.filters import PairFilter


@click.command(
    "list",
    epilog=example(
        """
levelgate dead list
levelgate dead list --type ContactCreate --error ApiRejected --since 2h --json
"""
    ),
)
@pair_filters
@limit_option
@json_option
def command(*, chosen: "PairFilter", most: int, as_json: bool) -> None:
    """List what was given up, the newest first.

    Filters that are set must all fit; times are those at which pairs were given up.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import list_dead
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await list_dead(pool, chosen, most=most)

    pairs = run(read)
    if as_json:
        print_json(pairs)
        return
    print_table(
        ("delivery", "run", "type", "tenant", "handler", "attempts", "died", "last error"),
        [
            (p["delivery"], p["run"], p["type"], p["tenant"], p["handler"], p["attempts"], p["died_at"], last_error(p))
            for p in pairs
        ],
        empty=nothing("dead", chosen),
    )
