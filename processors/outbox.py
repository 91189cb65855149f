"""Publishes dead letters on their topic, for consumers outside: at least once, after Postgres has them."""

import asyncio
import contextlib
from collections.abc import Callable

from aiokafka.errors import KafkaError

from levelgate.postgres import POSTGRES_AWAY
from levelgate.producer import open_producer
from processors.dead_letters import DeadLetters, Unpublished
from schemas.envelope import Headers
from schemas.logs import get_logger
from schemas.settings import Kafka
from schemas.topics import Topics

log = get_logger(__name__)

_MOST = 100
_POLL_S = 2.0
_SEND_TIMEOUT_S = 15.0


class Outbox:
    """Brings the dead letters of the active numbers to the topic; `run` is its task."""

    def __init__(
        self, kafka: Kafka, max_body_bytes: int, letters: DeadLetters, *, active: Callable[[], dict[int, int]]
    ) -> None:
        self._kafka = kafka
        self._max_body_bytes = max_body_bytes
        self._topic = Topics(kafka).dead
        self._letters = letters
        self._active = active

    async def run(self) -> None:
        """Publish until cancelled; a producer that fails is replaced."""
        while True:
            with contextlib.suppress(*POSTGRES_AWAY):
                letters = await self._letters.unpublished(self._active(), most=_MOST) if self._active() else []
                if letters:
                    await self._publish(letters)
                    continue
            await asyncio.sleep(_POLL_S)

    async def _publish(self, letters: list[Unpublished]) -> None:
        try:
            async with open_producer(self._kafka, self._max_body_bytes) as producer:
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    for letter in letters:
                        await producer.send_and_wait(
                            self._topic, letter.body, key=letter.pair.tenant.encode(), headers=_headers(letter)
                        )
                await self._letters.mark_published(letters)
        except (KafkaError, TimeoutError) as error:
            log.warning("dead_letters_unpublished", error=type(error).__name__, count=len(letters))
            await asyncio.sleep(_POLL_S)


def _headers(letter: Unpublished) -> Headers:
    """Return the delivery's own headers, and who gave up when; no error text leaves Postgres."""
    return [
        *letter.headers,
        ("levelgate_handler", letter.pair.handler.encode()),
        ("levelgate_element", str(letter.pair.element).encode()),
        ("levelgate_attempts", str(letter.attempts).encode()),
        ("levelgate_diedat", letter.died_at.isoformat().encode()),
    ]
