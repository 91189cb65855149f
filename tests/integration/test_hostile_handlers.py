"""Handlers that raise what nobody thinks of: it is their run's failure, and never the worker's end."""

import asyncio
from datetime import timedelta

import pytest

from levelgate import Permanent, Retry
from processors.dead_letters import list_dead
from processors.deliveries import states
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.workers import handler, quick, working

pytestmark = pytest.mark.expected_errors("^aiokafka")

SECRET = "Bearer eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


class TextFails(Exception):
    def __str__(self):
        return self.args[5]


class NoBase(Retry):
    def __init__(self):
        """Leave out what `Retry` sets."""


class OddAfter(Retry):
    def __init__(self):
        super().__init__("later")
        self.after = 60  # type: ignore[assignment]  # as a beginner would


class NoException(BaseException):
    """As some libraries have for their own ways out."""


def asks_for_seconds():
    return Retry("later", after=60)  # type: ignore[arg-type]  # as a beginner would


ERRORS = {
    "seconds": asks_for_seconds,
    "millennia": lambda: Retry("later", after=timedelta(days=3_000_000)),
    "text-fails": TextFails,
    "no-base": NoBase,
    "odd-after": OddAfter,
    "no-exception": NoException,
    "group": lambda: BaseExceptionGroup("of a task group", [NoException()]),
    "surrogate": lambda: Permanent("no such name: \ud83d"),
    "nul": lambda: Permanent("no such name: \x00"),
    "secret": lambda: Permanent(f"refused: Authorization: {SECRET}"),
    "long": lambda: Permanent("x" * 10**6),
}


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"hostile-{settings.kafka.topic_prefix}", max_attempts=2, brake_share=0)


async def test_whatever_a_handler_raises_is_a_failure_of_its_run(settings, pool):
    async def raises(_event, ctx):
        error = ERRORS[ctx.delivery.id]()
        raise error

    wanted = dict.fromkeys(ERRORS, "dead") | {"millennia": "parked"}
    async with working(settings, handler(raises)) as worker:
        await publish(settings.kafka, [delivery(settings.kafka, id=name, entity=name) for name in ERRORS])
        await eventually(lambda: states(pool, list(ERRORS)), lambda seen: seen == wanted, within_s=20)
        assert worker.is_ready
    told = {each["delivery"]: each["errors"][-1]["message"] for each in await list_dead(pool)}
    assert told["seconds"] == "Retry(after=…) takes a timedelta, not int"
    assert SECRET.split()[1] not in str(told)
    assert max(len(message) for message in told.values()) <= 500


async def test_handlers_that_keep_their_connections_keep_nobody_else_from_the_database(settings, pool):
    gate = asyncio.Event()

    async def greedy(_event, ctx):
        async with ctx.db.acquire():
            await gate.wait()

    async def modest(_event, _ctx):
        """Do nothing: what became of it has to be written all the same."""

    records = [delivery(settings.kafka, entity=f"contact-{n}", tenant=f"location-{n}") for n in range(30)]

    def done(name):
        return pool.fetchval("SELECT count(*) FROM handled WHERE handler = $1", name)

    async with working(settings, handler(greedy), handler(modest)):
        await publish(settings.kafka, records)
        await eventually(lambda: done("modest"), lambda count: count == len(records), within_s=20)
        assert await done("greedy") == 0
        gate.set()
        await eventually(lambda: done("greedy"), lambda count: count == len(records), within_s=20)
