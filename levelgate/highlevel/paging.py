"""Pages into async iterators, one function for each way the vendor pages (facts.md §4, Paging).

All of them stop at a page that brings nothing new, since cursors that repeat the last item have been seen, and
none of them trusts a short page or a total: servers cap `limit` below what was asked. Who leaves one early closes it
(`contextlib.aclosing`).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

import msgspec

Item = TypeVar("Item")


class Page(msgspec.Struct, frozen=True):
    """What one call brought; without a cursor it is the last page."""

    items: Sequence[Any]
    cursor: str | None


async def by_offset(
    fetch: Callable[[int], Awaitable[Sequence[Item]]], *, key: Callable[[Item], Hashable]
) -> AsyncGenerator[Item, None]:
    """Yield each item once; `fetch` gets how many to skip (`skip`, `offset`)."""
    seen: set[Hashable] = set()
    skip = 0
    while True:
        page = await fetch(skip)
        fresh = _fresh(page, seen, key)
        if not fresh:
            return
        for item in fresh:
            yield item
        skip += len(page)


async def by_cursor(
    fetch: Callable[[str | None], Awaitable[Page]], *, key: Callable[[Any], Hashable]
) -> AsyncGenerator[Any, None]:
    """Yield each item once; `fetch` gets the last page's cursor, first None."""
    seen: set[Hashable] = set()
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        fresh = _fresh(page.items, seen, key)
        for item in fresh:
            yield item
        if not fresh or page.cursor is None:
            return
        cursor = page.cursor


def _fresh(page: Sequence[Item], seen: set[Hashable], key: Callable[[Item], Hashable]) -> list[Item]:
    fresh: list[Item] = []
    for item in page:
        if key(item) not in seen:
            seen.add(key(item))
            fresh.append(item)
    return fresh
