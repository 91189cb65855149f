"""What `dead redrive` and `dead discard` share: what they are about to move, shown before anybody is asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from levelgate.cli.output import print_json, print_table
from levelgate.cli.pairs import is_empty, nothing
from schemas.errors import LevelgateError

if TYPE_CHECKING:
    from processors.dead_letters import Counted
    from processors.filters import PairFilter

Command = TypeVar("Command", bound=Callable[..., Any])


def moving_options(command: Command) -> Command:
    """Give a command the options that go before something is moved."""
    options = [
        click.option("--all", "everything", is_flag=True, help="All of them; needed where nothing else chooses."),
        click.option("--dry-run", is_flag=True, help="Only print how many there are, by run, handler, type and error."),
        click.option("--yes", is_flag=True, help="Don't ask."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def check_chosen(chosen: "PairFilter", *, everything: bool) -> None:
    """Refuse to move everything by a forgotten filter."""
    if is_empty(chosen) != everything:
        raise click.UsageError(
            "say which: delivery ids, a filter, or --all" if not everything else "--all and a filter contradict"
        )


def count(chosen: "PairFilter") -> "Counted":
    """Count the dead pairs that fit; an id that has none of them is most likely mistyped, and an error."""
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import count_dead
    from schemas.settings import Settings

    async def read(settings: Settings) -> "Counted":
        async with open_pool(settings) as pool:
            return await count_dead(pool, chosen)

    counted = run(read)
    if unknown := [each for each in chosen.deliveries if each not in counted.deliveries]:
        more = f" and of {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise LevelgateError(
            f"no dead letter of {unknown[0]}{more} that fits, nothing was done: `levelgate trace {unknown[0]}` shows "
            "what became of it, `levelgate dead list` what is dead"
        )
    return counted


def confirm(counted: "Counted", question: str, *, yes: bool, as_json: bool) -> None:
    """Ask, the counts shown first, unless `--yes` was given; end the command on a no.

    No loop runs meanwhile: Ctrl-C is an answer too.
    """
    if yes:
        return
    if not as_json:
        show_counts(counted, as_json=False)
    click.confirm(question, abort=True, err=True)


def show_counts(counted: "Counted", *, as_json: bool) -> None:
    """Print how many pairs there are by run, handler, type and error: a dry run's result."""
    if as_json:
        print_json(counted.counts)
        return
    rows = [(each.handler, each.type, each.error, each.run, each.pairs) for each in counted.counts]
    rows += [("all", "", "", "", counted.pairs)] if rows else []
    columns = ("handler", "type", "last error", "run", "pairs")
    print_table(columns, rows, empty=nothing("dead", counted.chosen), totals=True)
