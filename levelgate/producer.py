"""The life of one aiokafka producer: started, and ended within a bound, whatever the broker does meanwhile.

Never sends anything itself, and never tries twice: whoever starts one decides that.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from levelgate.broker import client_options
from schemas.logs import get_logger
from schemas.settings import Kafka
from schemas.topics import max_batch_bytes

_REQUEST_TIMEOUT_S = 10.0
"""For one request to a broker; an idempotent batch is then sent again, for as long as it takes."""

_START_TIMEOUT_S = 15.0
_END_S = 5.0
FORCED_END_S = 2.0

log = get_logger(__name__)


async def start_producer(kafka: Kafka, max_body_bytes: int, *, linger_ms: int) -> AIOKafkaProducer:
    """Return a started idempotent producer of records with bodies of at most `max_body_bytes`.

    Raises: KafkaError, OSError or TimeoutError; nothing is left open then.
    """
    size = max_batch_bytes(max_body_bytes)
    producer = AIOKafkaProducer(
        **client_options(kafka),
        enable_idempotence=True,
        acks="all",
        linger_ms=linger_ms,
        max_request_size=size,
        max_batch_size=size,
        request_timeout_ms=int(_REQUEST_TIMEOUT_S * 1000),
    )
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await producer.start()  # waits for its producer id without end while no broker gives one
    except BaseException:
        await end_producer(producer, within_s=FORCED_END_S)
        raise
    return producer


@asynccontextmanager
async def open_producer(kafka: Kafka, max_body_bytes: int) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer for many records at a time; raises as `start_producer` does.

    What the body has not seen acknowledged may be lost.
    """
    producer = await start_producer(kafka, max_body_bytes, linger_ms=5)
    try:
        yield producer
    finally:
        await end_producer(producer, within_s=_END_S)


async def end_producer(producer: AIOKafkaProducer, *, within_s: float) -> None:
    """Flush and close the producer; what does not end within `within_s` is ended by force.

    aiokafka's own `stop()` waits for every batch, and an idempotent batch never expires while the broker
    is gone. By force means: its tasks are cancelled, its sockets aborted, its batches failed.
    """
    stopping = asyncio.ensure_future(producer.stop())
    try:
        await asyncio.wait({stopping}, timeout=within_s)
    finally:
        if not stopping.done():
            _abort(producer)
            _done, late = await asyncio.wait({stopping}, timeout=FORCED_END_S)
            for task in late:
                task.cancel()
            await asyncio.wait({stopping})
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            log.warning("producer_ended_badly", error=type(error).__name__)


def _abort(producer: AIOKafkaProducer) -> None:
    # aiokafka has no public way to do any of this. Failing the batches frees the lanes that wait for them,
    # aborting the sockets spares us a close that waits for a frozen broker to read, and cancelling ends the
    # sender, which otherwise waits for its requests, and those for the metadata of brokers that are gone.
    accumulator, sender, client = producer._message_accumulator, producer._sender, producer.client  # noqa: SLF001 -- why: above
    queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001 -- as above
    accumulator.fail_all(ProducerClosed())
    # A batch that fails is taken out of what is pending by a callback, and one that was to be sent again is not there.
    accumulator._pending_batches.update(batch for batch in queued if batch.retry_count)  # noqa: SLF001 -- as above
    for batch in queued:
        batch._drain_waiter.exception()  # noqa: SLF001 -- nobody waits for it: asyncio would log it as never retrieved
    for connection in client._conns.values():  # noqa: SLF001 -- as above
        if (writer := connection._writer) is not None:  # noqa: SLF001 -- as above
            writer.transport.abort()
    for task in asyncio.all_tasks():
        if any(_self_of(task) is part for part in (accumulator, sender, client)):
            task.cancel()


def _self_of(task: asyncio.Task[Any]) -> object:
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame.f_locals.get("self") if frame is not None else None
