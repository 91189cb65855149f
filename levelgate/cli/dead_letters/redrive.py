"""`levelgate dead redrive`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from levelgate.cli.dead_letters.choosing import check_chosen, confirm, count, moving_options, show_counts
from levelgate.cli.lazy import example
from levelgate.cli.output import Reporter, json_option, print_json
from levelgate.cli.pairs import pair_filters
from schemas.errors import LevelgateError

if TYPE_CHECKING:
    from processors.dead_letters import Counted
    from processors.filters import PairFilter
    from processors.pairs import Pair
    from processors.redrive import Outcomes
    from schemas.settings import Settings


@click.command(
    "redrive",
    epilog=example(
        """
levelgate dead redrive --handler my_app.handlers.greet --error KeyError --dry-run
levelgate dead redrive --handler my_app.handlers.greet --error KeyError --first 10
levelgate dead redrive 6f0c1d2e-3a4b-4596-8778-695a00000001 --yes
"""
    ),
)
@pair_filters
@click.option(
    "--first", type=click.IntRange(min=1), help="Run so many first, and the rest only if all of them end well."
)
@click.option(
    "--wait",
    "within_s",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="How many seconds the first ones may take.",
)
@moving_options
@json_option
def command(
    *,
    chosen: "PairFilter",
    first: int | None,
    within_s: float,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run dead letters again, the oldest first: they are parked, due now, and a worker takes them up.

    Their attempts begin anew; errors and API calls so far stay with them. They run late: in no order against what
    came after them, but never beside another event of their entity. One that fails as before is dead again.

    With --first the rest stays dead unless each of the first ones is done within the time: then it goes on, after
    asking.
    """
    check_chosen(chosen, everything=everything)
    counted = count(chosen)
    if dry_run or not (counted.pairs or as_json):
        show_counts(counted, as_json=as_json)
        return
    reporter = Reporter()
    able = counted.able
    if able < counted.pairs:
        reporter.say(f"{counted.pairs - able} can't run: no receiver wrote them; look, then discard them")
    if able:
        question = f"Run {'the first ' if first else ''}{first or 'all'} of {able} again?"
        confirm(counted, question, yes=yes, as_json=as_json)

    canary: Outcomes | None = None
    redriven, rest = 0, able
    if first is not None and able:
        moved: list[Pair] = []
        redriven = _move(counted, reporter, "the first ones redriven", most=min(first, able), told=moved.extend)
        rest = max(able - first, 0)
        if not moved:
            raise LevelgateError("the first ones were moved by somebody else meanwhile: nothing was done, run it again")
        canary = _follow(moved, reporter, within_s=within_s)
    if rest and (canary is None or canary.is_good):
        if canary is not None:
            confirm(counted, f"All of the first are done. Run the other {rest} too?", yes=yes, as_json=True)
        redriven += _move(counted, reporter, "dead letters redriven", most=rest)
    if as_json:
        print_json({"chosen": able, "redriven": redriven, "first": canary})
    else:
        click.echo(f"{redriven} of {able} redriven: `levelgate parked` shows those that have not ended")
    if canary is not None and not canary.is_good:
        raise LevelgateError(
            f"of the first {first}, {_told(canary)}: the rest, {rest}, stays dead; `levelgate dead show` tells why"
        )


def _move(
    counted: "Counted",
    reporter: Reporter,
    text: str,
    *,
    most: int,
    told: "Callable[[list[Pair]], None]" = lambda _moved: None,
) -> int:
    """Redrive the first so many; return how many were moved, and tell which, batch by batch."""
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import choose_dead
    from processors.redrive import redrive

    async def move(settings: "Settings") -> int:
        redriven = 0
        async with open_pool(settings) as pool:
            with reporter.progress(text, most) as advance:
                async for batch in redrive(pool, choose_dead(pool, counted), most=most):
                    told(batch)
                    redriven += len(batch)
                    advance(redriven)
        return redriven

    return run(move)


def _follow(pairs: "Sequence[Pair]", reporter: Reporter, *, within_s: float) -> "Outcomes":
    from levelgate.cli.connections import open_pool, run
    from processors.redrive import ended

    async def follow(settings: "Settings") -> "Outcomes":
        async with open_pool(settings) as pool:
            with reporter.progress("the first ones ended", len(pairs)) as advance:
                return await ended(pool, pairs, within_s=within_s, advance=advance)

    outcomes = run(follow)
    reporter.say(_told(outcomes))
    return outcomes


def _told(outcomes: "Outcomes") -> str:
    text = f"{outcomes.done} done, {outcomes.dead} dead again, {outcomes.waiting} not ended"
    return f"{text}, {outcomes.cancelled} dropped with their cancelled replay" if outcomes.cancelled else text
