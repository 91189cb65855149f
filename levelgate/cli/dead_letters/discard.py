"""`levelgate dead discard`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.dead_letters.choosing import check_chosen, confirm, count, moving_options, show_counts
from levelgate.cli.lazy import example
from levelgate.cli.output import Reporter, json_option, print_json
from levelgate.cli.pairs import pair_filters

if TYPE_CHECKING:
    from processors.dead_letters import Counted
    from processors.filters import PairFilter
    from processors.redrive import Discarded
    from schemas.settings import Settings


@click.command(
    "discard",
    epilog=example(
        """
levelgate dead discard --type NoteCreate --until 7d --dry-run
levelgate dead discard 6f0c1d2e-3a4b-4596-8778-695a00000001 --handler my_app.handlers.greet --yes
"""
    ),
)
@pair_filters
@moving_options
@json_option
def command(*, chosen: "PairFilter", everything: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Give dead letters up for good. This can't be undone.

    Their bodies and headers are deleted where no other handler's pair needs them. What stays, as long as the ledger
    remembers what was done, is the row with its errors: `levelgate trace` and `dead show` call it discarded, and a
    later copy of the delivery does not run.
    """
    check_chosen(chosen, everything=everything)
    counted = count(chosen)
    if dry_run or not (counted.pairs or as_json):
        show_counts(counted, as_json=as_json)
        return
    if counted.pairs:
        confirm(counted, f"Discard these {counted.pairs} for good?", yes=yes, as_json=as_json)
    total = _discard(counted)
    if as_json:
        print_json(total)
    else:
        click.echo(f"{total.pairs} dead letters discarded, and the bodies of {total.bodies} deliveries")


def _discard(counted: "Counted") -> "Discarded":
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import choose_dead
    from processors.redrive import Discarded, discard

    async def act(settings: "Settings") -> Discarded:
        total = Discarded(0, 0)
        async with open_pool(settings) as pool:
            with Reporter().progress("dead letters discarded", counted.pairs) as advance:
                async for batch in discard(pool, choose_dead(pool, counted)):
                    total = Discarded(total.pairs + batch.pairs, total.bodies + batch.bodies)
                    advance(total.pairs)
        return total

    return run(act)
