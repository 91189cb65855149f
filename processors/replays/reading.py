"""One way to read what a replay is of, wherever it comes from."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from levelgate.broker import open_reader
from processors.pairs import Record
from processors.replays.cursor import Cursor, Gap, Range
from processors.replays.dead import DeadSource, freeze_dead
from processors.replays.selection import Selection
from processors.replays.topics import TopicSource, freeze
from processors.sql import Pool
from schemas.errors import LevelgateError
from schemas.settings import Settings

_SILENT_S = 30.0


class Source(Protocol):
    """What yields the events of a selection, and knows how far it has come."""

    lost: int

    @property
    def cursor(self) -> Cursor:
        """What is left, from the first record on that was not said to be `passed`."""

    def passed(self) -> None:
        """Take note that the last record yielded needs no second reading."""

    def read(self) -> AsyncGenerator[Record | None, None]:
        """Yield what fits; None now and then."""


async def frozen(settings: Settings, pool: Pool, selection: Selection) -> tuple[Cursor, list[Gap]]:
    """Return what there is to read as of now, and where retention has taken something.

    Raises KafkaError, TimeoutError.
    """
    if selection.source == "dead":
        return await freeze_dead(pool), []
    async with open_reader(settings.kafka, settings.receiver.max_body_bytes) as consumer:
        return await freeze(consumer, settings.kafka, settings.receiver.max_body_bytes, selection)


@asynccontextmanager
async def open_source(settings: Settings, pool: Pool, selection: Selection, cursor: Cursor) -> AsyncIterator[Source]:
    """Yield the source of a selection, at a cursor."""
    if selection.source == "dead":
        yield DeadSource(pool, selection, cursor)
        return
    async with open_reader(settings.kafka, settings.receiver.max_body_bytes) as consumer:
        yield TopicSource(consumer, selection, cursor)


class Silent(LevelgateError):
    """Kafka gives nothing of what is there to be read."""


async def selected(
    settings: Settings, pool: Pool, selection: Selection, cursor: Cursor, *, silent_s: float = _SILENT_S
) -> AsyncGenerator[Record, None]:
    """Yield the events of a selection, from a cursor of `frozen` on, its limit kept.

    `envelope.replay_handlers` of each names the handlers that it is for (none: all of its type),
    `envelope.replay_element` the only element of a list body.
    Raises Silent where it comes no further for `silent_s`: a client whose broker is away waits for it for ever.
    """
    taken = 0
    async with (
        open_source(settings, pool, selection, cursor) as source,
        contextlib.aclosing(source.read()) as records,
    ):
        at, moved_at = source.cursor, time.monotonic()
        async for record in records:
            if record is not None:
                yield record
                taken += 1
                if taken == selection.limit:
                    return
            elif source.cursor != at:
                at, moved_at = source.cursor, time.monotonic()
            elif at.ranges and time.monotonic() - moved_at > silent_s:
                raise Silent(_silence(at.ranges[0], silent_s))


def _silence(left: Range, silent_s: float) -> str:
    return (
        f"Kafka gave nothing for {silent_s:.0f} s at {left.topic}, partition {left.partition}, offset {left.next}: "
        "check that its brokers run and lead that partition, and begin again"
    )
