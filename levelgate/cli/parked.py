"""`levelgate parked`."""

from typing import Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from levelgate.cli.pairs import last_error, pair_filters


@click.command(
    epilog=example(
        """
levelgate parked
levelgate parked --tenant ve9EPM428h8vShlRW1KT --json
"""
    )
)
@pair_filters
@json_option
def command(*, as_json: bool, **filters: Any) -> None:  # noqa: ANN401 -- what pair_filters collects
    """List what waits for its next attempt, the ones due first at the top.

    retry: it failed and is tried again · waiting: for an installation or the API's limits, which uses up no attempt ·
    behind: an earlier event of the same entity is parked.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.parking import list_parked
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await list_parked(pool, **filters)

    pairs = run(read)
    if as_json:
        print_json(pairs)
        return
    print_table(
        ("delivery", "type", "tenant", "handler", "reason", "attempts", "due", "last error"),
        [
            (
                p["delivery"],
                p["type"],
                p["tenant"],
                p["handler"],
                p["reason"],
                p["attempts"],
                p["due_at"],
                last_error(p),
            )
            for p in pairs
        ],
        empty="nothing is parked",
    )
