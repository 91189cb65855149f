"""`levelgate parked`."""

from typing import TYPE_CHECKING, Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from levelgate.cli.pairs import last_error, limit_option, nothing, pair_filters

if TYPE_CHECKING:
    from processors.filters import PairFilter


@click.command(
    epilog=example(
        """
levelgate parked
levelgate parked --tenant ve9EPM428h8vShlRW1KT --error RateLimited --since 30m --json
"""
    )
)
@pair_filters
@limit_option
@json_option
def command(*, chosen: "PairFilter", most: int, as_json: bool) -> None:
    """List what waits for its next attempt, the ones due first at the top.

    retry: it failed and is tried again · waiting: for an installation or the API's limits, which uses up no attempt ·
    behind: an earlier event of the same entity is parked · redriven: it was dead, and has not run again yet.
    Filters that are set must all fit; times are those at which pairs were first parked.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.parking import list_parked
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await list_parked(pool, chosen, most=most)

    pairs = run(read)
    if as_json:
        print_json(pairs)
        return
    print_table(
        ("delivery", "run", "type", "tenant", "handler", "reason", "attempts", "due", "last error"),
        [
            (
                p["delivery"],
                p["run"],
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
        empty=nothing("parked", chosen),
    )
