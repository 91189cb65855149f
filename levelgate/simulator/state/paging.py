"""The vendor's styles of paging, one function each (facts.md, API conventions, Paging). Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from levelgate.simulator import refusals
from levelgate.simulator.store import Body

MAX_LIMIT = 100

Position = tuple[int, str]
"""Where an entity stands in an order by date: milliseconds, then its id."""


def number(source: Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Return a whole number of the query or body; refuse with 422 where it is none or out of range."""
    value = source.get(name)
    if value is None or value == "":
        return default
    try:
        parsed = int(value)
    except (TypeError, ValueError):
        raise refusals.malformed([f"{name} must be a number"]) from None
    if parsed < least:
        raise refusals.malformed([f"{name} must not be less than {least}"])
    if most is not None and parsed > most:
        raise refusals.malformed([f"{name} must not be greater than {most}"])
    return parsed


def window(items: Sequence[Body], source: Mapping[str, Any], *, start: str, limit: int) -> Sequence[Body]:
    """Return the page of `skip` or `offset` and `limit`; a limit of 0, or none where that is the default, is all."""
    first = number(source, start, 0)
    size = number(source, "limit", limit, most=MAX_LIMIT)
    return items[first : first + size] if size else items[first:]


def page(items: Sequence[Body], source: Mapping[str, Any], size: int) -> Sequence[Body]:
    """Return the page of `page`, counted from 1."""
    first = (number(source, "page", 1, least=1) - 1) * size
    return items[first : first + size]


def newest_first(items: Sequence[Body], position: Callable[[Body], Position]) -> list[Body]:
    """Return the entities in the order of the cursors: the newest first."""
    return sorted(items, key=position, reverse=True)


def after(items: Sequence[Body], position: Callable[[Body], Position], cursor: Position | None) -> list[Body]:
    """Return what follows `cursor` in the order of `newest_first`."""
    return [item for item in items if cursor is None or position(item) < cursor]
