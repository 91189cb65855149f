"""The poll loop and the rebalances: reads deliveries, commits what is finished, gives back what it must.

What Kafka's client does behind our back, and what is done about each (aiokafka 0.14, tried on Kafka 4.3):
- records of new partitions may come before the callback has run: it pauses first, and what comes too early
  is sought back to;
- every rebalance forgets pauses: the reasons are our own state, applied again after each poll;
- a cancelled or missing `getmany` ends the membership for good: nothing cancels it, a paused worker polls on;
- a commit retries under the *current* generation: one lock, one last commit at revocation, none while out of
  the group, and only for numbers whose epoch is confirmed;
- the callbacks run in the coordinator's task and must not wait for the poll loop: they wait for handlers only.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from levelgate.broker import client_options
from levelgate.postgres import POSTGRES_AWAY
from processors import positions
from processors.claims import Claims
from processors.intake import Intake
from processors.ledger import Ledger
from processors.ownership import Ownership
from processors.parking import Lines
from processors.partitions import Change, Number, Phase, by_number
from processors.scheduler import Scheduler
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics
from schemas.settings import Kafka, Worker
from schemas.topics import Topics, max_message_bytes

log = get_logger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 500
_CALL_TIMEOUT_S = 10.0
_RETRY_S = 0.5
_ERROR_PAUSE_S = 0.02
_MOST_UNWRITTEN = 5000
"""Entries that wait for the ledger: beyond it nothing more is read, so that a slow Postgres does not fill memory."""


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One member of the group; `run` is its task, `stop` ends it in order."""

    def __init__(  # noqa: PLR0913 -- the composition root hands over each part by name
        self,
        *,
        name: str,
        intake: Intake,
        kafka: Kafka,
        worker: Worker,
        max_body_bytes: int,
        ledger: Ledger,
        ownership: Ownership,
        claims: Claims,
        lines: Lines,
        scheduler: Scheduler,
        metrics: WorkerMetrics,
        is_held: Callable[[], bool],
    ) -> None:
        self._name = name
        self._is_held = is_held
        self._intake = intake
        self._kafka = kafka
        self._worker = worker
        self._topics = Topics(kafka)
        self._max_fetch_bytes = max_message_bytes(max_body_bytes)
        self._ledger = ledger
        self._ownership = ownership
        self._claims = claims
        self._lines = lines
        self._scheduler = scheduler
        self._metrics = metrics
        self._numbers: dict[int, Number] = {}
        self._paused: set[TopicPartition] = set()
        self._committed: dict[TopicPartition, int] = {}
        self._commit_lock = asyncio.Lock()
        self._in_group = False
        self._stopping = False
        self._stopped = asyncio.Event()
        self._client: AIOKafkaConsumer | None = None

    @property
    def moves(self) -> int:
        """Deliveries read and deliveries finished, ever: what the watchdog looks at."""
        return self._intake.moves

    @property
    def active(self) -> dict[int, int]:
        """The numbers that this worker works on, with their epochs."""
        return {n.number: n.epoch for n in self._numbers.values() if n.phase is Phase.ACTIVE}

    @property
    def is_ready(self) -> bool:
        """Whether this worker is in the group and works on all that it was assigned."""
        return self._in_group and all(n.phase is Phase.ACTIVE for n in self._numbers.values())

    @property
    def has_work(self) -> bool:
        """Whether there is something that should move: it could be worked on, and nothing known holds it."""
        if self._stopping or self._is_blocked:
            return False
        active = [held for held in self._numbers.values() if held.phase is Phase.ACTIVE]
        return any(held.unfinished or any(held.lag(tp, self._highwater(tp)) for tp in held.trackers) for held in active)

    @property
    def _is_blocked(self) -> bool:
        """Whether Postgres or the API fails for everyone: Kafka is the buffer then."""
        return not self._ledger.is_healthy or self._is_held()

    def phases(self) -> dict[str, int]:
        """How many numbers are in which phase."""
        phases = [n.phase.value for n in self._numbers.values()]
        return {phase.value: phases.count(phase.value) for phase in Phase}

    def fenced(self, number: int) -> None:
        """Drop a number that is another worker's; claim it again while Kafka still assigns it to us."""
        held = self._numbers.get(number)
        if held is None or not held.change(Change.FENCED):
            return
        self._metrics.fenced.inc()
        self._lines.drop(number)
        self._apply_pauses()
        self._claim(just_assigned=False)

    async def run(self) -> None:
        """Consume until `stop`. Raises KafkaError where the client can't recover."""
        client = self._client = await self._started()
        if client is None:
            return
        client.subscribe(topics=list(self._topics.consumed()), listener=self)
        async with asyncio.TaskGroup() as tasks:
            commits = tasks.create_task(self._commit_now_and_then())
            try:
                await self._poll(client)
            finally:
                commits.cancel()
                self._claims.end()

    async def _started(self) -> AIOKafkaConsumer | None:
        """Return a client that has reached the broker; None where the worker was stopped before."""
        while not self._stopped.is_set():
            client = AIOKafkaConsumer(
                **client_options(self._kafka),
                client_id=self._name,
                group_id=self._worker.group,
                enable_auto_commit=False,
                auto_offset_reset="none",
                partition_assignment_strategy=(RangePartitionAssignor,),
                session_timeout_ms=int(self._worker.session_timeout_s * 1000),
                heartbeat_interval_ms=int(self._worker.session_timeout_s * 1000 / 10),
                rebalance_timeout_ms=int((self._worker.grace_s + 10) * 1000),
                max_partition_fetch_bytes=self._max_fetch_bytes,
                fetch_max_wait_ms=100,
            )
            try:
                await client.start()
            except KafkaConnectionError as error:
                log.warning("kafka_unavailable", error=type(error).__name__)
                await client.stop()
                await asyncio.sleep(_RETRY_S)
            else:
                return client
        return None

    async def _poll(self, client: AIOKafkaConsumer) -> None:
        while not self._stopped.is_set():
            try:
                batches = await client.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            except NoOffsetForPartitionError:
                # Claiming finds these and seeks; without a pause here the same error would come in a busy loop.
                await asyncio.sleep(_ERROR_PAUSE_S)
            except OffsetOutOfRangeError as error:
                if not await positions.skip_lost(client, self._numbers, error.args[0], lost=self._lost):
                    await asyncio.sleep(_RETRY_S)
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                if not error.retriable:
                    raise
                log.warning("poll_failed", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                for tp, records in batches.items():
                    self._take(client, tp, records)
            self._apply_pauses()

    def _take(
        self, client: AIOKafkaConsumer, tp: TopicPartition, records: "list[ConsumerRecord[bytes, bytes]]"
    ) -> None:
        held = self._numbers.get(tp.partition)
        if held is None or held.phase is not Phase.ACTIVE or tp not in held.trackers:
            with contextlib.suppress(IllegalStateError):  # not assigned any more: its new owner reads it
                client.seek(tp, records[0].offset)
            return
        self._intake.take(held, tp, records)

    def _lost(self, tp: TopicPartition, count: int) -> None:
        self._metrics.offsets_lost.labels(self._topics.family(tp.topic)).inc(count)

    def _apply_pauses(self) -> None:
        client = self._client
        if client is None:
            return
        blocked = self._stopping or self._is_blocked or self._ledger.unwritten > _MOST_UNWRITTEN
        wanted = {
            tp
            for held in self._numbers.values()
            for tp in held.trackers
            if blocked or held.wants_pause(tp, quota=self._worker.partition_quota, max_gap=self._worker.max_gap)
        }
        assigned = {tp for held in self._numbers.values() for tp in held.trackers} & client.assignment()
        client.pause(*((wanted - self._paused) & assigned))
        client.resume(*((self._paused - wanted) & assigned))
        self._paused = wanted

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause at once, then claim and resume beside the poll loop."""
        client = self._client
        if client is None:
            return
        partitions = list(assigned)
        client.pause(*partitions)
        self._paused = set(partitions)
        self._committed = {}
        self._numbers = by_number(partitions, self._topics.consumed(), replay=self._topics.replay)
        self._in_group = True
        odd = sorted(n.number for n in self._numbers.values() if n.phase is Phase.ODD)
        if odd:
            log.error("partitions_odd", partitions=odd, hint="partition counts differ: levelgate topics show")
        log.info("partitions_assigned", partitions=sorted(self._numbers))
        self._claim(just_assigned=True)

    def _claim(self, *, just_assigned: bool) -> None:
        if self._client is not None and not self._stopping:
            self._claims.begin(self._client, list(self._numbers.values()), just_assigned=just_assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 -- eager: all go
        """Finish, park or cancel what runs; write it; commit; give up the numbers."""
        await self._give_back()

    async def _give_back(self) -> None:
        self._claims.end()
        numbers = list(self._numbers)
        for held in self._numbers.values():
            held.change(Change.GIVEN_BACK)
        if not numbers:
            self._in_group = False
            return
        await self._scheduler.stop(numbers, grace_s=self._worker.grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await self._ledger.flushed()
        async with self._commit_lock:
            with contextlib.suppress(*POSTGRES_AWAY):
                await self._ownership.renew()
                await self._commit(self._committable())
            self._in_group = False
        for number in numbers:
            self._ownership.drop(number)
            self._lines.drop(number)
        self._numbers = {}
        self._paused = set()
        log.info("partitions_given_back", partitions=sorted(numbers))

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._worker.commit_interval_s)
            async with self._commit_lock:
                if self._in_group:
                    await self._commit(self._committable())

    def _committable(self) -> dict[TopicPartition, int]:
        """Return the lowest unfinished offsets of confirmed numbers, where they have moved."""
        offsets = {
            tp: tracker.committable
            for held in self._numbers.values()
            if self._ownership.is_confirmed(held.number)
            for tp, tracker in held.trackers.items()
        }
        return {tp: o for tp, o in offsets.items() if o is not None and o != self._committed.get(tp)}

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        client = self._client
        if client is None or not offsets:
            return
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await client.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # What is not committed is read again, and the ledger knows it.
            log.warning("commit_failed", error=type(error).__name__)
        else:
            self._committed |= offsets

    async def stop(self) -> None:
        """Take no more, finish or cancel what runs, commit, leave the group. Bounded in time."""
        self._stopping = True
        self._apply_pauses()
        await self._give_back()
        self._stopped.set()
        if self._client is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    await self._client.stop()

    def observe(self) -> None:
        """Set lag and age of the oldest unfinished delivery, by family, and the partition numbers by phase."""
        now = datetime.now(UTC)
        lags: Counter[str] = Counter()
        ages: dict[str, float] = {}
        for held in self._numbers.values():
            for tp in held.trackers:
                family = self._topics.family(tp.topic)
                lags[family] += held.lag(tp, self._highwater(tp))
                oldest = held.oldest_received_at(tp)
                ages[family] = max(ages.get(family, 0.0), (now - oldest).total_seconds() if oldest else 0.0)
        for family, age in ages.items():
            self._metrics.lag.labels(family).set(lags[family])
            self._metrics.oldest_unfinished.labels(family).set(age)
        for phase, count in self.phases().items():
            self._metrics.partitions.labels(phase).set(count)

    def _highwater(self, tp: TopicPartition) -> int | None:
        client = self._client
        return client.highwater(tp) if client is not None and tp in client.assignment() else None
