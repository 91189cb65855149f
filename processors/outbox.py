"""Publishes dead letters on their topic, for consumers outside: at least once, after Postgres has them.

One that the broker refuses holds up no other: it stays in Postgres, and is tried again later.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, KafkaError

from levelgate.postgres import POSTGRES_AWAY
from levelgate.producer import open_producer
from processors.dead_letters import DeadLetters, Unpublished
from processors.pairs import Pair
from schemas.envelope import Headers
from schemas.logs import get_logger
from schemas.settings import Kafka
from schemas.topics import Topics

log = get_logger(__name__)

_MOST = 100
_MOST_REFUSED = 1000
"""Beyond so many it is no letter's fault: nothing more is sent until one of them is to be tried again."""
_POLL_S = 2.0
_REFUSED_RETRY_S = 600.0
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
        self._refused: dict[tuple[Pair, datetime], float] = {}
        """Deaths that the broker did not take, and when they are tried again."""

    async def run(self) -> None:
        """Publish until cancelled; a producer that fails is replaced."""
        while True:
            with contextlib.suppress(*POSTGRES_AWAY):
                letters = await self._unpublished()
                if letters and await self._publish(letters):
                    continue
            await asyncio.sleep(_POLL_S)

    async def _unpublished(self) -> list[Unpublished]:
        now = time.monotonic()
        self._refused = {death: again_at for death, again_at in self._refused.items() if again_at > now}
        active = self._active()
        if not active or len(self._refused) >= _MOST_REFUSED:
            return []
        return await self._letters.unpublished(active, most=_MOST, without=self._refused)

    async def _publish(self, letters: list[Unpublished]) -> bool:
        """Send letters up to a refused one and note which the broker has; False where it was away or too slow."""
        acknowledged: list[Unpublished] = []
        is_well = True
        try:
            async with open_producer(self._kafka, self._max_body_bytes) as producer:
                for letter in letters:
                    try:
                        await self._send(producer, letter)
                    except BrokerResponseError as error:
                        if error.retriable:
                            raise
                        self._refuse(letter, error)
                        break  # an idempotent producer is of no use after that: the rest goes out by the next one
                    acknowledged.append(letter)
        except (KafkaError, TimeoutError) as error:
            log.warning("dead_letters_unpublished", error=type(error).__name__, count=len(letters) - len(acknowledged))
            is_well = False
        if acknowledged:
            await self._letters.mark_published(acknowledged)
        return is_well

    async def _send(self, producer: AIOKafkaProducer, letter: Unpublished) -> None:
        # One at a time: a batch is refused as a whole.
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await producer.send_and_wait(
                self._topic, letter.body, key=letter.pair.tenant.encode(), headers=_headers(letter)
            )

    def _refuse(self, letter: Unpublished, error: KafkaError) -> None:
        self._refused[letter.pair, letter.died_at] = time.monotonic() + _REFUSED_RETRY_S
        log.warning(
            "dead_letter_refused",
            error=type(error).__name__,
            delivery=letter.pair.delivery,
            handler=letter.pair.handler,
            bytes=len(letter.body),
            hint="does the dead letter topic allow as much as the others? levelgate topics show",
        )


def _headers(letter: Unpublished) -> Headers:
    """Return the delivery's own headers, and who gave up when; no error text leaves Postgres."""
    return [
        *letter.headers,
        ("levelgate_handler", letter.pair.handler.encode()),
        ("levelgate_element", str(letter.pair.element).encode()),
        ("levelgate_attempts", str(letter.attempts).encode()),
        ("levelgate_diedat", letter.died_at.isoformat().encode()),
    ]
