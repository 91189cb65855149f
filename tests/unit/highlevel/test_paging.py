"""Every item comes once, whatever the server makes of page sizes and cursors, and every listing ends."""

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.paging import Page, by_cursor, by_offset


def listed(iterator: AsyncIterator[int]) -> list[int]:
    async def collect() -> list[int]:
        return [item async for item in iterator]

    return asyncio.run(collect())


@given(total=st.integers(0, 50), page_size=st.integers(1, 20))
def test_offset_paging_brings_all_though_the_server_caps_the_page(total, page_size):
    async def fetch(skip):
        return range(total)[skip : skip + page_size]

    assert listed(by_offset(fetch, key=lambda item: item)) == list(range(total))


def test_offset_paging_ends_where_the_server_ignores_the_offset():
    async def fetch(_skip):
        return [1, 2, 3]

    assert listed(by_offset(fetch, key=lambda item: item)) == [1, 2, 3]


@given(total=st.integers(0, 50), page_size=st.integers(1, 20), overlap=st.booleans())
def test_cursor_paging_brings_each_once_though_the_cursors_item_is_repeated(total, page_size, overlap):
    async def fetch(cursor):
        start = 0 if cursor is None else int(cursor) + (0 if overlap and page_size > 1 else 1)
        page = range(total)[start : start + page_size]
        return Page(list(page), str(page[-1]) if len(page) else None)

    assert listed(by_cursor(fetch, key=lambda item: item)) == list(range(total))


def test_cursor_paging_ends_where_the_cursor_stands_still():
    async def fetch(_cursor):
        return Page([1, 2], "2")

    assert listed(by_cursor(fetch, key=lambda item: item)) == [1, 2]
