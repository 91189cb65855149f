"""The options of `replay start` that make a rehearsal of it; imports nothing of what that needs."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class RehearsalOptions(NamedTuple):
    """What `replay start` was told of a rehearsal."""

    dry_run: bool = False
    compares: bool = False
    modules: tuple[str, ...] = ()
    """Of handlers to run instead of those that settings name, or to compare them with."""
    allow_reads: bool = False
    with_body: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether this is a rehearsal at all. Raises UsageError where the options can't be meant together."""
        if self.compares and not self.modules:
            raise click.UsageError("--compare wants --handlers MODULE: what to compare the running handlers with")
        if self.compares or self.dry_run:
            return True
        if self.modules or self.allow_reads or self.with_body:
            raise click.UsageError("--handlers, --allow-reads and --body go with --dry-run or --compare")
        return False


def rehearsal_options(command: Command) -> Command:
    """Give a command the options of a rehearsal, but for `--json`; it gets them as `rehearsal`."""
    options = [
        click.option("--dry-run", is_flag=True, help="Publish nothing: run the handlers here and print their calls."),
        click.option("--compare", "compares", is_flag=True, help="Print where the calls of --handlers would differ."),
        click.option("--handlers", "modules", metavar="MODULE", multiple=True, help="A new version of your handlers."),
        click.option("--allow-reads", is_flag=True, help="Let a rehearsal read from HighLevel's API; never write."),
        click.option("--body", "with_body", is_flag=True, help="Print bodies of calls too: your customers' data."),
    ]

    @wraps(command)
    def rehearsing(**given: Any) -> Any:  # noqa: ANN401 -- the command's own
        named = {name: given.pop(name) for name in RehearsalOptions._fields}
        return command(rehearsal=RehearsalOptions(**named), **given)

    given: Any = rehearsing
    for option in reversed(options):
        given = option(given)
    return given  # type: ignore[no-any-return]
