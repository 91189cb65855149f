"""What a rehearsed handler asks of its database, as text: what must not run there, and what tells two statements apart.

Pure. What literals and arguments say may be customers' data: they are kept apart from what a statement is called.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

Given: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""What a method is called with, by position and by name."""

_TEXTS = ("query", "command", "table_name")
"""What the methods of asyncpg call their first argument."""
_ASIDE = frozenset({*_TEXTS, "prefetch", "record_class", "timeout"})
_OF_ROWS = frozenset({"copy_records_to_table", "executemany", "fetchmany"})

_QUOTED = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ENDING = re.compile(
    r"(?:^|;)\s*(?:COMMIT|END|ABORT|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION)\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(" at 0x[0-9a-f]+")


class Statement(msgspec.Struct, frozen=True):
    """A statement that a handler ran."""

    named: str
    """Its text on one line, without comments and literals: `UPDATE notes SET text = '…' WHERE id = $1`."""
    literals: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """As Python shows them; of many rows, each row."""

    @property
    def key(self) -> tuple[str, ...]:
        """What two statements have in common where they are the same, however their text is laid out."""
        return (self.named, *self.literals, *self.arguments)


def statement_of(method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Statement:
    """Return the statement that a connection's method runs when it is called so."""
    literals: list[str] = []

    def masked(quoted: re.Match[str]) -> str:
        if quoted[0][0] in "'$":
            literals.append(quoted[0])
            return "'…'"
        return quoted[0] if quoted[0][0] == '"' else " "

    named = " ".join(_QUOTED.sub(masked, text_of(args, kwargs)).split())
    values = [
        *(args if any(name in kwargs for name in _TEXTS) else args[1:]),
        *(value for name, value in sorted(kwargs.items()) if name not in _ASIDE),
    ]
    if method in _OF_ROWS:
        values = [row for value in values for row in (value if isinstance(value, list | tuple) else [value])]
    # An object that has no text of its own would differ by where it lies in memory.
    arguments = tuple(_ADDRESS.sub("", repr(value)) for value in values)
    return Statement(f"{method} {named}" if method.startswith("copy_") else named, tuple(literals), arguments)


def repeatable(method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
    """Return the arguments with rows that can be gone through only once as lists, so that they can be looked at."""

    def listed(value: Any) -> Any:  # noqa: ANN401 -- any argument
        return list(value) if method in _OF_ROWS and isinstance(value, Iterator) else value

    return tuple(map(listed, args)), {name: listed(value) for name, value in kwargs.items()}


def text_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return the text of the statement, or the name of the table, that a connection's method is given."""
    return str(next((kwargs[name] for name in _TEXTS if name in kwargs), args[0] if args else ""))


def ends_transaction(query: str) -> bool:
    """Whether one of the statements in `query` would end the transaction that it runs in."""
    return _ENDING.search(_QUOTED.sub(" ", query)) is not None
