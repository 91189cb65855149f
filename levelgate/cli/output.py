"""How commands print: results on standard output, as a table or as JSON; what goes on, on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

Command = TypeVar("Command", bound=Callable[..., Any])

_NOTHING = "-"
_WIDE = 10_000


def json_option(command: Command) -> Command:
    """Give a command the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text.")(command)


def print_json(value: Any) -> None:  # noqa: ANN401 -- anything that msgspec can write
    """Print `value` as one line of JSON."""
    click.echo(msgspec.json.encode(value))


def print_line(text: str) -> None:
    """Print one line of a result; while a progress bar is shown on the same terminal, above it."""
    # click would look for the stream behind the one that the bar has put in place of it.
    sys.stdout.write(f"{text}\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, totals: bool = False) -> None:
    """Print a table, whole even where it is wider than the terminal; `empty` where it has no rows.

    With `totals` the last row is set apart.
    """
    given = [[cell(value) for value in row] for row in rows]
    if not given:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        is_number = all(row[index].removeprefix("-").isdigit() or row[index] == _NOTHING for row in given)
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for row in given[:-1]:
        table.add_row(*map(Text, row))
    if totals:
        table.add_section()
    table.add_row(*map(Text, given[-1]))
    width = max(Console().width, Console(width=_WIDE).measure(table).maximum)
    Console(width=width).print(table)


def cell(value: object) -> str:
    """Return a value as tables show it; control characters, which a vendor's text may hold, are blanked."""
    match value:
        case None | "":
            return _NOTHING
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case list() | tuple():
            return ", ".join(map(str, value)) or _NOTHING
        case _:
            return "".join(character if character.isprintable() else " " for character in str(value))


class Reporter:
    """Tells the person at the terminal what goes on; off a terminal, a line for each step that has ended."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(Text(text), soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something goes on, and how long it took."""
        began = time.monotonic()
        with self._console.status(Text(text)):
            yield
        self._done(text, began)

    @contextmanager
    def progress(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a bar; the yielded function is told how much is done by now. `total` None: nobody knows."""
        began = time.monotonic()
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            # What is printed meanwhile goes above the bar; piped into a file it must stay in that file.
            redirect_stdout=sys.stdout.isatty(),
        )
        with bar:
            task = bar.add_task(text, total=total)
            reached = 0

            def advance(done: int) -> None:
                nonlocal reached
                reached = done
                bar.update(task, completed=done)

            yield advance
        self._done(f"{text}: {reached}" if total is None else f"{text}: {reached} of {total}", began)

    def _done(self, text: str, began: float) -> None:
        line = Text("✓ ", style="green").append(text, style="default")
        self._console.print(line.append(f"  {time.monotonic() - began:.1f} s", style="dim"), soft_wrap=True)
        sys.stderr.flush()
