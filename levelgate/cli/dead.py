"""`levelgate dead list`."""

from typing import Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from levelgate.cli.pairs import last_error, pair_filters


@click.group(name="dead")
def command() -> None:
    """Look at dead letters: what was given up, kept with its whole history."""


@command.command(
    "list",
    epilog=example(
        """
levelgate dead list
levelgate dead list --type ContactCreate --json
"""
    ),
)
@pair_filters
@json_option
def list_(*, as_json: bool, **filters: Any) -> None:  # noqa: ANN401 -- what pair_filters collects
    """List what was given up, the newest first."""
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import list_dead
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await list_dead(pool, **filters)

    pairs = run(read)
    if as_json:
        print_json(pairs)
        return
    print_table(
        ("delivery", "type", "tenant", "handler", "attempts", "died", "last error"),
        [
            (p["delivery"], p["type"], p["tenant"], p["handler"], p["attempts"], p["died_at"], last_error(p))
            for p in pairs
        ],
        empty="nothing is dead",
    )
