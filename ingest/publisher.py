"""Webhooks to Kafka: gathered into one batch a partition, and answered only when the broker has them.

Each busy partition has one lane with one task: the webhooks of one turn of the loop make a batch, and
while it is on its way the next one fills. One producer carries all lanes. It is supervised: after any
batch that failed for good, or one that nobody acknowledges, it is replaced, since an idempotent producer
that lost its sequence fails every later batch of that partition (design §8).

Never says that a record is written before the broker did. A record whose webhook was refused after a
time-out may still be written later; the workers' ledger absorbs that.
"""

import asyncio
import time
from collections import deque
from typing import Any, Literal

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ingest.producer import cluster_answers, open_producer, partition_counts
from levelgate.broker import partition_of
from levelgate.producer import end_producer
from schemas.envelope import Headers
from schemas.errors import LevelgateError
from schemas.logs import get_logger
from schemas.metrics import ReceiverMetrics
from schemas.settings import Kafka
from schemas.topics import Topics, max_record_bytes

_ASK_INTERVAL_S = 5.0
_GIVE_UP_S = 30.0
"""A producer is replaced when a batch, or the cluster's answer, is this late: all of it was refused long ago."""

_MAX_REOPEN_DELAY_S = 5.0
_MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of records handed over and not acknowledged: also keeps one request under the broker's limit of 100 MB."""

_RECORD_OVERHEAD_BYTES = 128
"""More than Kafka's framing of a batch with one record; its own limit has room for as much again."""


log = get_logger(__name__)

Refusal = Literal["timeout", "fatal", "too_large", "full", "no_topic"]


class Unpublished(LevelgateError):
    """The broker did not confirm the record in time; it may still be written later."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"the record was not published: {reason}")
        self.reason = reason


class Record(msgspec.Struct, frozen=True):
    """What is to be written, and under which family it is counted."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    family: str

    def size(self) -> int:
        """Return an upper bound of its size in Kafka."""
        headers = sum(len(name) + len(value) + 10 for name, value in self.headers)
        return _RECORD_OVERHEAD_BYTES + len(self.key) + len(self.value) + headers


class _Waiting:
    """A record, and the webhook that waits for it; without its record it was given up."""

    __slots__ = ("ended", "record")

    def __init__(self, record: Record) -> None:
        self.record: Record | None = record
        self.ended: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()

    def end(self, refusal: Refusal | None) -> None:
        if not self.ended.done():
            self.ended.set_result(refusal)


class _Lane:
    """One partition of one topic."""

    __slots__ = ("partition", "sent_at", "task", "topic", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Waiting] = deque()
        self.task: asyncio.Task[None] | None = None
        self.sent_at: float | None = None
        """When the batch on its way was sent; None where none is."""

    def is_late(self, limit_s: float) -> bool:
        """Whether the batch on its way has waited longer than `limit_s`."""
        return self.sent_at is not None and time.monotonic() - self.sent_at > limit_s


class Publisher:
    """Writes records, each confirmed by all in-sync replicas; starts and stops whatever the broker does."""

    def __init__(
        self,
        kafka: Kafka,
        metrics: ReceiverMetrics,
        *,
        max_body_bytes: int,
        timeout_s: float,
        give_up_s: float = _GIVE_UP_S,
    ) -> None:
        self._kafka = kafka
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self._give_up_s = give_up_s
        self._topics = tuple(topic.name for topic in Topics(kafka).layout(max_body_bytes))
        self._counts: dict[str, int] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._busy: set[_Lane] = set()
        self._waiting_bytes = 0
        self._producer: AIOKafkaProducer | None = None
        self._usable = asyncio.Event()
        self._doom = asyncio.Event()
        self._unanswered_since: float | None = time.monotonic()
        self._supervisor: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def is_ready(self) -> bool:
        """Whether a record handed over now has a good chance to be written in time."""
        return (
            self._usable.is_set()
            and self._unanswered_since is None
            and not any(lane.is_late(self._timeout_s) for lane in self._busy)
        )

    def start(self) -> None:
        """Begin to connect; returns at once, also while the broker is away."""
        self._supervisor = asyncio.create_task(self._supervise(), name="publisher-supervisor")

    async def stop(self, within_s: float) -> None:
        """Send what waits, for at most `within_s`; refuse the rest and leave no task and no socket."""
        deadline = time.monotonic() + within_s
        lanes = {lane.task for lane in self._busy if lane.task is not None}
        if lanes and self._usable.is_set():
            await asyncio.wait(lanes, timeout=within_s)
        ending = {task for task in (self._supervisor, *lanes) if task is not None}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._producer is not None:
            self._retire(self._producer, max(deadline - time.monotonic(), 0.1))
        await asyncio.gather(*self._retiring)

    async def publish(self, record: Record) -> None:
        """Return when the broker has the record. Raises Unpublished."""
        began = time.monotonic()
        try:
            await self._written(record)
        except Unpublished as refused:
            self._metrics.publish_failures.labels(refused.reason).inc()
            raise
        self._metrics.publish_duration.observe(time.monotonic() - began)

    async def _written(self, record: Record) -> None:
        size = record.size()
        if size > max_record_bytes(self._max_body_bytes):
            raise Unpublished("too_large")
        if self._waiting_bytes + size > _MAX_WAITING_BYTES:
            raise Unpublished("full")
        if self._unanswered_since is not None and time.monotonic() - self._unanswered_since > self._timeout_s:
            raise Unpublished("timeout")  # waiting would only pile up webhooks that all end like this
        waiting = _Waiting(record)
        self._waiting_bytes += size
        try:
            async with asyncio.timeout(self._timeout_s):
                if record.topic not in self._counts:
                    await self._usable.wait()
                self._enqueue(waiting, record)
                refusal = await waiting.ended
        except TimeoutError:
            raise Unpublished("timeout") from None
        finally:
            waiting.record = None
            self._waiting_bytes -= size
        if refusal is not None:
            raise Unpublished(refusal)

    def _enqueue(self, waiting: _Waiting, record: Record) -> None:
        count = self._counts.get(record.topic)
        if count is None:
            raise Unpublished("no_topic")
        place = record.topic, partition_of(record.key, count)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = _Lane(*place)
        if lane.is_late(self._timeout_s):
            raise Unpublished("timeout")
        lane.waiting.append(waiting)
        if lane.task is None:
            # It runs in the loop's next turn, so that all webhooks of this one are in its first batch.
            lane.task = asyncio.create_task(self._drain(lane), name=f"publish-{lane.topic}-{lane.partition}")
            self._busy.add(lane)

    async def _drain(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._usable.wait()
                if (producer := self._producer) is not None:
                    await self._send_next(producer, lane)
        finally:
            for waiting in lane.waiting:  # there are some only where the receiver stops
                waiting.end("timeout")
            lane.waiting.clear()
            lane.task = None
            self._busy.discard(lane)

    async def _send_next(self, producer: AIOKafkaProducer, lane: _Lane) -> None:
        batch, taken = _filled(producer, lane.waiting)
        if not taken:
            return
        refusal: Refusal | None = "fatal"
        lane.sent_at = time.monotonic()
        try:
            async with asyncio.timeout(self._give_up_s):
                acknowledged = await producer.send_batch(batch, lane.topic, partition=lane.partition)
                acknowledged.add_done_callback(_seen)
                # wait() leaves it alone when time is up: an error that comes later is then seen all the same.
                await asyncio.wait({acknowledged})
            acknowledged.result()
            refusal = None
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            # Whatever it was, the broker and this producer may no longer agree on the sequence.
            self._give_up(producer, type(error).__name__, topic=lane.topic, partition=lane.partition)
        finally:
            lane.sent_at = None
            for waiting, family in taken:
                waiting.end(refusal)
                if refusal is None:
                    self._metrics.published.labels(family).inc()
        if producer is self._producer:
            self._unanswered_since = None

    def _give_up(self, producer: AIOKafkaProducer, error: str, **where: Any) -> None:  # noqa: ANN401 -- log fields
        if producer is not self._producer:
            return  # another lane was faster
        log.warning("producer_given_up", error=error, **where)
        self._metrics.producer_replacements.inc()
        self._unanswered_since = time.monotonic()
        self._producer = None
        self._usable.clear()
        self._doom.set()
        self._retire(producer, self._timeout_s)

    def _retire(self, producer: AIOKafkaProducer, within_s: float) -> None:
        # In the background: batches of other partitions may still get their acknowledgement.
        task = asyncio.create_task(end_producer(producer, within_s=within_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _supervise(self) -> None:
        while True:
            producer = await self._opened()
            self._counts = partition_counts(producer, self._topics)
            self._producer = producer
            self._unanswered_since = None
            self._doom.clear()
            self._usable.set()
            log.info("producer_opened", topics=len(self._counts))
            asking = asyncio.create_task(self._ask(producer))
            try:
                await self._doom.wait()
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _opened(self) -> AIOKafkaProducer:
        delay_s = 0.1
        while True:
            try:
                return await open_producer(self._kafka, self._max_body_bytes)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("broker_unreachable", error=type(error).__name__, again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _MAX_REOPEN_DELAY_S)

    async def _ask(self, producer: AIOKafkaProducer) -> None:
        """Keep asking the cluster, so that readiness is true without traffic and new topics are found."""
        while True:
            await asyncio.sleep(_ASK_INTERVAL_S)
            if await cluster_answers(producer):
                self._unanswered_since = None
                self._counts = partition_counts(producer, self._topics)
            elif self._unanswered_since is None:
                self._unanswered_since = time.monotonic()
                log.warning("broker_unanswering")
            elif time.monotonic() - self._unanswered_since > self._give_up_s:
                # The client asks the brokers that it knows only; a new one finds those that took their place.
                self._give_up(producer, "NoAnswer")


def _seen(acknowledged: asyncio.Future[Any]) -> None:
    if not acknowledged.cancelled():
        acknowledged.exception()


def _filled(producer: AIOKafkaProducer, waiting: deque[_Waiting]) -> tuple[Any, list[tuple[_Waiting, str]]]:
    """Return a batch of what waits, as much as fits, with who waits for it and their families."""
    batch = producer.create_batch()
    taken: list[tuple[_Waiting, str]] = []
    while waiting:
        record = waiting[0].record
        if record is not None:
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                break
            taken.append((waiting[0], record.family))
        waiting.popleft()
    return batch, taken
