"""A group of commands whose modules are imported only when they are called, not to list them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

Section = Mapping[str, tuple[str, str]]
"""Command → the module that holds it as `command`, and its one line in the list."""


class LazyGroup(click.Group):
    """Lists its commands in sections, in the order given."""

    def __init__(self, *args: Any, sections: Mapping[str, Section], **kwargs: Any) -> None:  # noqa: ANN401 -- click's own
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._modules = {name: module for section in sections.values() for name, (module, _) in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; click calls this."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; click calls this."""
        del ctx
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any; click calls this."""
        del ctx
        width = max(map(len, self._modules))
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in section.items()])


def example(text: str) -> str:
    r"""Return `text` as click leaves it alone, for `epilog`: lines of examples under a heading."""
    lines = "\n".join(f"  {line}" for line in text.strip().splitlines())
    return f"\b\nExamples:\n{lines}"
