"""The options `--native` and `--compose`, apart from what they choose, which takes longer to import."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def mode_options(command: Command) -> Command:
    """Give a command `--native` and `--compose`."""
    native = click.option("--native", "mode", flag_value="native", default=None, help="As processes, without Docker.")
    compose = click.option(
        "--compose", "mode", flag_value="compose", help="In containers, as deploy/compose.yaml says."
    )
    return native(compose(command))
