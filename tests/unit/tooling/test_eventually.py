import asyncio
import itertools

import pytest

from tests.support.eventually import eventually


async def test_it_returns_the_first_answer_that_is_ready():
    numbers = itertools.count()
    assert await eventually(lambda: next(numbers), lambda n: n >= 3) == 3


async def test_it_asks_async_probes_too():
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)

    async def probe():
        return event.is_set()

    assert await eventually(probe)


async def test_it_fails_with_the_last_value_seen():
    numbers = itertools.count()
    with pytest.raises(AssertionError, match=r"not so within 0\.1 s; last seen: \d"):
        await eventually(lambda: next(numbers), lambda _: False, within_s=0.1)
