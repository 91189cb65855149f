"""What `dead redrive` and `dead discard` share: what they are about to move, shown before anybody is asked."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from levelgate.cli.output import print_json, print_table
from levelgate.cli.pairs import is_empty

if TYPE_CHECKING:
    from processors.filters import PairFilter
    from processors.redrive import DeadPair

Command = TypeVar("Command", bound=Callable[..., Any])


def moving_options(command: Command) -> Command:
    """Give a command the options that go before something is moved."""
    options = [
        click.option("--all", "everything", is_flag=True, help="All of them; needed where nothing else chooses."),
        click.option("--dry-run", is_flag=True, help="Only print how many there are, by handler, type and error."),
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


def choose(chosen: "PairFilter") -> "list[DeadPair]":
    """Read the dead pairs that fit."""
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import choose_dead
    from schemas.settings import Settings

    async def read(settings: Settings) -> "list[DeadPair]":
        async with open_pool(settings) as pool:
            return await choose_dead(pool, chosen)

    return run(read)


def confirm(pairs: "Sequence[DeadPair]", question: str, *, yes: bool, as_json: bool) -> None:
    """Ask, the counts shown first, unless there is nothing to move or `--yes` was given; end the command on a no.

    No loop runs meanwhile: Ctrl-C is an answer too.
    """
    if not pairs or yes:
        return
    if not as_json:
        show_counts(pairs, as_json=False)
    click.confirm(question, abort=True, err=True)


def counted(pairs: "Sequence[DeadPair]") -> list[dict[str, object]]:
    """Return how many pairs there are by handler, type and error, the most first."""
    counts = Counter((each.pair.handler, each.type, each.error) for each in pairs)
    return [
        {"handler": handler, "type": type_, "error": error, "pairs": count}
        for (handler, type_, error), count in counts.most_common()
    ]


def show_counts(pairs: "Sequence[DeadPair]", *, as_json: bool) -> None:
    """Print the counts as a dry run's result."""
    if as_json:
        print_json(counted(pairs))
        return
    rows = [list(row.values()) for row in counted(pairs)]
    rows += [["all", None, None, len(pairs)]] if rows else []
    print_table(("handler", "type", "last error", "pairs"), rows, empty="nothing is dead that fits", totals=True)
