"""Publishes a replay: each event with the replay's id, at its pace, while there is room; what is saved is never ahead.

The cursor is saved once a second, after the broker has acknowledged all that is before it. A crash in between publishes
some again: the once-ledger of the replay's id absorbs that. The same save renews the lease and reads the state, so that
`pause` and `cancel` of another terminal are seen within a second or two.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from levelgate.postgres import POSTGRES_AWAY
from levelgate.producer import open_producer
from processors.pairs import Record
from processors.replays import table
from processors.replays.pace import Pace
from processors.replays.reading import Source, open_source
from processors.replays.room import BOUNDS, Bounds, Gauge, open_gauge
from processors.replays.states import NotNow, State
from processors.replays.table import Overtaken, Replay
from processors.sql import Pool
from schemas.envelope import REPLAY_HEADERS, Headers, to_headers
from schemas.errors import LevelgateError
from schemas.logs import get_logger
from schemas.settings import Settings
from schemas.topics import Topics

log = get_logger(__name__)

_CHECK_S = 1.0
_CALL_TIMEOUT_S = 15.0
_LAST_WORDS_S = 5.0


class Interrupted(LevelgateError):
    """It stopped for a reason of its surroundings; it can be resumed."""


class Progress(msgspec.Struct, frozen=True):
    """How far it has come; `waits_for` says why it does not go on, where it does not."""

    published: int
    waits_for: str | None = None


async def publish(
    settings: Settings,
    pool: Pool,
    replay: Replay,
    publisher: str,
    *,
    told: Callable[[Progress], None],
    most: Bounds = BOUNDS,
) -> State:
    """Publish what is left of a replay of which `publisher` has the lease; return the state in which it is then.

    That is finished, or what another process made of it. Raises Interrupted, Overtaken; when it is cancelled, what was
    published is saved first.
    """
    error: str | None = None
    try:
        async with (
            open_source(settings, pool, replay.selection, replay.cursor) as source,
            open_producer(settings.kafka, settings.receiver.max_body_bytes) as producer,
            open_gauge(settings, pool, replay.id, not_tenants=replay.selection.not_tenants, most=most) as gauge,
        ):
            topic = Topics(settings.kafka).replay
            return await _Publishing(replay, publisher, pool, source, producer, gauge, topic, told).run()
    except (KafkaError, *POSTGRES_AWAY) as away:
        error = type(away).__name__
        raise Interrupted(
            f"{replay.id} is interrupted ({error}): `levelgate replay resume {replay.id}` goes on where it stopped"
        ) from None
    finally:
        with contextlib.suppress(*POSTGRES_AWAY):
            await table.release(pool, replay.id, publisher, error=error)


class _Publishing:
    def __init__(
        self,
        replay: Replay,
        publisher: str,
        pool: Pool,
        source: Source,
        producer: AIOKafkaProducer,
        gauge: Gauge,
        topic: str,
        told: Callable[[Progress], None],
    ) -> None:
        self._replay = replay
        self._publisher = publisher
        self._pool = pool
        self._source = source
        self._producer = producer
        self._gauge = gauge
        self._topic = topic
        self._told = told
        self._pace = Pace(replay.rate)
        self._published = replay.published
        self._skipped = replay.skipped
        self._sent: list[asyncio.Future[object]] = []
        self._room = 0
        self._waits_for: str | None = None
        self._check_at = 0.0
        self._state: State = replay.state

    async def run(self) -> State:
        """Publish to the end, or until the state is not `running` any more."""
        try:
            await self._publish()
        except asyncio.CancelledError:
            with contextlib.suppress(KafkaError, Overtaken, *POSTGRES_AWAY):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._save()
            raise
        await self._save()
        if self._state == "running":
            try:
                self._state = (await table.change(self._pool, self._replay.id, "finish")).state
            except NotNow:  # paused or cancelled a moment ago
                self._state = (await table.find(self._pool, self._replay.id)).state
        return self._state

    async def _publish(self) -> None:
        limit = self._replay.selection.limit
        async with contextlib.aclosing(self._source.read()) as records:
            async for record in records:
                if limit is not None and self._published + self._skipped >= limit:
                    return
                if not (await self._is_next() if record is not None else await self._may_go_on()):
                    return
                if record is not None:
                    await self._send(record)
                    self._source.passed()

    async def _is_next(self) -> bool:
        """Wait until the next record may go; False where it is not to go any more."""
        while await self._may_go_on():
            wait_s = self._pace.wait_s(time.monotonic()) if self._room > 0 else _CHECK_S
            if wait_s <= 0:
                return True
            await asyncio.sleep(min(wait_s, _CHECK_S))
        return False

    async def _may_go_on(self) -> bool:
        """Save, look at the state and measure the room, once a second; False where another process stopped it."""
        if time.monotonic() >= self._check_at:
            await self._save()
            opened = await self._gauge.measure()
            self._room, self._waits_for = opened.room, opened.waits_for
            self._told(Progress(self._published, self._waits_for))
            self._check_at = time.monotonic() + _CHECK_S
        return self._state == "running"

    async def _send(self, record: Record) -> None:
        headers = replay_headers(record, self._replay.id)
        try:
            future = await self._producer.send(self._topic, record.body, key=record.envelope.key, headers=headers)
        except MessageSizeTooLargeError:
            self._skipped += 1
            log.warning("replay_skipped", replay=self._replay.id, delivery=record.envelope.id, reason="too_large")
            return
        self._sent.append(future)
        self._published += 1
        self._room -= 1
        self._pace.sent(time.monotonic())

    async def _save(self) -> None:
        """Wait for the broker's acknowledgements, then write how far it is."""
        if self._sent:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await asyncio.wait(self._sent)
            for each in self._sent:
                await each  # raises what the broker answered
            self._sent.clear()
        self._state = await table.save(
            self._pool,
            self._replay.id,
            self._publisher,
            cursor=self._source.cursor,
            published=self._published,
            skipped=self._skipped,
            lost=self._replay.lost + self._source.lost,
            waits_for=self._waits_for,
        )
        self._told(Progress(self._published, self._waits_for))


def replay_headers(record: Record, replay_id: str) -> Headers:
    """Return a delivery's own headers as they were, and what makes it a replay's."""
    envelope = msgspec.structs.replace(record.envelope, replay_id=replay_id)
    own = [(name, value) for name, value in record.headers if name not in REPLAY_HEADERS]
    return own + [(name, value) for name, value in to_headers(envelope) if name in REPLAY_HEADERS]
