"""What `parked` and `dead list` share: their filters, and how a listed pair looks."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def pair_filters(command: Command) -> Command:
    """Give a command the options by which pairs are chosen."""
    options = [
        click.option("--app", help="Only this app's."),
        click.option("--tenant", help="Only this location's or company's."),
        click.option("--type", "type_", help="Only this event type's, by its wire name."),
        click.option("--handler", help="Only this handler's."),
        click.option("--limit", "most", type=click.IntRange(min=1), default=100, show_default=True, help="At most."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def last_error(pair: dict[str, Any]) -> str | None:
    """Return the last of a pair's failures in one line."""
    errors = pair["errors"]
    return f"{errors[-1]['error']}: {errors[-1]['message']}" if errors else None
