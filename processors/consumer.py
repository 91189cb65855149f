"""The poll loop and the rebalances: reads deliveries, commits what is finished, gives back what it must.

What Kafka's client does behind our back, and what is done about each (aiokafka 0.14, tried on Kafka 4.3):
- records of new partitions may come before the callback has run: it pauses first, and what comes too early
  is sought back to;
- every rebalance forgets pauses: the reasons are our own state, applied again after each poll;
- a cancelled or missing `getmany` ends the membership for good: nothing cancels it, a paused worker polls on;
- a commit retries under the *current* generation: see `Commits`;
- the callbacks run in the coordinator's task and must not wait for the poll loop: they wait for handlers only, and
  less long than the group waits for them;
- from a rebalance's beginning on `getmany` waits for an assignment, which never comes where the join fails at the end
  of the membership: `stop` ends it.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from processors import positions
from processors.claims import Claims
from processors.commits import Commits
from processors.ends import Ends
from processors.intake import Intake
from processors.ledger import Ledger
from processors.membership import give_back_s, reach, rebalance_s
from processors.ownership import Ownership
from processors.parking import Lines
from processors.partitions import Change, Number, Phase, by_number
from processors.scheduler import Scheduler
from processors.watchdog import Standing
from schemas.logs import get_logger
from schemas.metrics import WorkerMetrics
from schemas.settings import Kafka, Worker
from schemas.topics import Topics, max_message_bytes

log = get_logger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 500
_RETRY_S = 0.5
_ERROR_PAUSE_S = 0.02
_END_S = 1.0
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
        commits: Commits,
        ends: Ends,
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
        self._commits = commits
        self._ends = ends
        self._lines = lines
        self._scheduler = scheduler
        self._metrics = metrics
        self._numbers: dict[int, Number] = {}
        self._paused: set[TopicPartition] = set()
        self._in_group = False
        self._stopping = False
        self._stopped = asyncio.Event()
        self._client: AIOKafkaConsumer | None = None
        self._consuming: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def moves(self) -> int:
        """Deliveries read, deliveries finished and numbers taken over, ever: what the watchdog looks at."""
        return self._intake.moves + self._claims.taken

    @property
    def active(self) -> dict[int, int]:
        """The numbers that this worker works on, with their epochs."""
        return {n.number: n.epoch for n in self._numbers.values() if n.phase is Phase.ACTIVE}

    @property
    def is_ready(self) -> bool:
        """Whether this worker is in the group and works on all that it was assigned."""
        return self._in_group and all(n.phase is Phase.ACTIVE for n in self._numbers.values())

    @property
    def standing(self) -> Standing:
        """How things stand, for the watchdog."""
        phases = self.phases()
        active = [held for held in self._numbers.values() if held.phase is Phase.ACTIVE]
        return Standing(
            is_held=self._stopping or self._client is None or self._is_blocked,
            broker_answers=self._ends.is_answered,
            is_member=self._in_group,
            is_claiming=phases[Phase.CLAIMING.value] > 0 and not self._claims.is_kept,
            unread=sum(held.lag(tp, self._end(tp)) for held in active for tp in held.trackers),
            unfinished=sum(held.unfinished for held in active),
        )

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
        try:
            async with asyncio.TaskGroup() as tasks:
                self._consuming = tasks.create_task(self._consume())
        finally:
            self._claims.end()
            self._commits.end()

    async def _consume(self) -> None:
        client = self._client = await reach(
            self._kafka,
            self._worker,
            name=self._name,
            max_fetch_bytes=self._max_fetch_bytes,
            stopped=self._stopped,
        )
        if client is None:
            return
        client.subscribe(topics=list(self._topics.consumed()), listener=self)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ends.run(client))
            await self._poll(client)
            asking.cancel()

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
        if self._stopping:
            return
        self._numbers = by_number(partitions, self._topics.consumed(), replay=self._topics.replay)
        self._in_group = True
        odd = sorted(n.number for n in self._numbers.values() if n.phase is Phase.ODD)
        if odd:
            log.error("partitions_odd", partitions=odd, hint="partition counts differ: levelgate topics show")
        log.info("partitions_assigned", partitions=sorted(self._numbers))
        self._commits.begin(client, self._numbers.values())
        self._claim(just_assigned=True)

    def _claim(self, *, just_assigned: bool) -> None:
        if self._client is not None and not self._stopping:
            self._claims.begin(self._client, list(self._numbers.values()), just_assigned=just_assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 -- eager: all go
        """Finish, park or cancel what runs; write it; commit; give up the numbers."""
        await self._give_back()

    async def _give_back(self) -> None:
        self._claims.end()
        numbers = self._numbers
        for held in numbers.values():
            held.change(Change.GIVEN_BACK)
        try:
            async with asyncio.timeout(give_back_s(self._worker)):
                await self._finish(numbers)
        except TimeoutError:
            # What is not committed is read again, and the ledger knows it.
            log.warning("giving_back_cut_short", partitions=sorted(numbers))
        finally:
            self._commits.end()
            self._in_group = False
            for number in numbers:
                self._ownership.drop(number)
                self._lines.drop(number)
            self._numbers = {}
            self._paused = set()
        if numbers:
            log.info("partitions_given_back", partitions=sorted(numbers))

    async def _finish(self, numbers: dict[int, Number]) -> None:
        """End what runs, write it, commit it. Asks Postgres for nothing itself: it may hang."""
        if self._client is None or not numbers:
            return
        await self._scheduler.stop(list(numbers), grace_s=self._worker.grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._worker.session_timeout_s / 3):
                await self._ledger.flushed()
        await self._commits.last(self._client, numbers.values())

    async def stop(self) -> None:
        """Take no more, finish or cancel what runs, commit, leave the group: within `rebalance_s` and a second."""
        self._stopping = True
        self._apply_pauses()
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(rebalance_s(self._worker)):
                await self._give_back()
                self._stopped.set()
                if self._client is not None:
                    # Shielded: cancelled while it takes leave, aiokafka leaves its tasks and connections behind.
                    self._leaving = asyncio.create_task(self._client.stop())
                    await asyncio.shield(self._leaving)
        # Whether it left the group or its time is over: what waits for an assignment now would wait for ever.
        self._stopped.set()
        if self._consuming is not None:
            _, waiting = await asyncio.wait([self._consuming], timeout=_END_S)
            for task in waiting:
                task.cancel()

    def observe(self) -> None:
        """Set lag and age of the oldest unfinished delivery, by family, and the partition numbers by phase."""
        now = datetime.now(UTC)
        lags: Counter[str] = Counter()
        ages: dict[str, float] = {}
        for held in self._numbers.values():
            for tp in held.trackers:
                family = self._topics.family(tp.topic)
                lags[family] += held.lag(tp, self._end(tp))
                oldest = held.oldest_received_at(tp)
                ages[family] = max(ages.get(family, 0.0), (now - oldest).total_seconds() if oldest else 0.0)
        for family, age in ages.items():
            self._metrics.lag.labels(family).set(lags[family])
            self._metrics.oldest_unfinished.labels(family).set(age)
        for phase, count in self.phases().items():
            self._metrics.partitions.labels(phase).set(count)

    def _end(self, tp: TopicPartition) -> int | None:
        """Return the offset behind the last record of `tp`, by the fetches or by a question, whichever knows more."""
        client = self._client
        fetched = client.highwater(tp) if client is not None and tp in client.assignment() else None
        return max((end for end in (fetched, self._ends.of(tp)) if end is not None), default=None)
