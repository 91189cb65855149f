"""From records to deliveries: each gets its turn, is parked unrun, or is buried where it has no envelope."""

from collections.abc import Callable, Collection

from aiokafka.structs import ConsumerRecord, TopicPartition

from processors.ledger import Ledger
from processors.ledger_rows import PairEntry
from processors.pairs import LIVE, Record
from processors.partitions import Number
from processors.records import ENVELOPE_HANDLER, burial, is_broken, read
from processors.scheduler import Scheduler
from processors.shelving import Shelf
from schemas.ids import AppName
from schemas.metrics import WorkerMetrics
from schemas.topics import Topics


class Intake:
    """Takes what was read of a partition number that is ours; `tenant_backlog` as in the settings."""

    def __init__(
        self,
        *,
        apps: Collection[AppName],
        topics: Topics,
        tenant_backlog: int,
        ledger: Ledger,
        scheduler: Scheduler,
        shelf: Shelf,
        metrics: WorkerMetrics,
    ) -> None:
        self._apps = frozenset(apps)
        self._topics = topics
        self._tenant_backlog = tenant_backlog
        self._ledger = ledger
        self._scheduler = scheduler
        self._shelf = shelf
        self._metrics = metrics
        self.moves = 0
        """Deliveries read and deliveries finished, ever."""

    def take(self, held: Number, tp: TopicPartition, records: "list[ConsumerRecord[bytes, bytes]]") -> None:
        """Take records of one partition, in order; those that were read before are passed over."""
        family = self._topics.family(tp.topic)
        for each in records:
            record = read(each)
            if not held.take(tp, record):
                continue
            app = record.envelope.app
            # Only a foreign writer can name an app that settings don't: the label stays a closed set.
            self.moves += 1
            self._metrics.consumed.labels(app if app in self._apps else "other", family).inc()
            finished = self._finisher(held, tp, record.offset)
            if is_broken(record):
                self._bury(record, held.epoch, finished)
            else:
                self._hand_over(held, record, finished)

    def _hand_over(self, held: Number, record: Record, finished: Callable[[bool], None]) -> None:
        """Give a delivery its turn, or park it where its tenant has too much in memory: what waits before it first."""
        if record.run == LIVE and held.is_backlog(record, most=self._tenant_backlog):
            waiting = self._scheduler.waiting(record)
            if all(self._may_be_parked(held, each) for each in (*(place.record for place in waiting), record)):
                self._scheduler.withdraw(record)
                for place in waiting:
                    self._set_aside(held, place.record, place.finished)
                self._set_aside(held, record, finished)
                return
        self._scheduler.add(record, epoch=held.epoch, finished=finished)

    def _set_aside(self, held: Number, record: Record, finished: Callable[[bool], None]) -> None:
        held.set_aside(TopicPartition(record.topic, record.partition), record.offset)
        self._shelf.put(record, epoch=held.epoch, finished=finished)

    def _may_be_parked(self, held: Number, record: Record) -> bool:
        """Whether nothing of a delivery runs: neither a copy of it, nor it itself as the follower of another's run."""
        return held.is_single(record) and not self._shelf.is_running(record)

    def _finisher(self, held: Number, tp: TopicPartition, offset: int) -> Callable[[bool], None]:
        def finished(ours: bool) -> None:  # noqa: FBT001 -- the ledger's callback
            if ours:
                self.moves += 1
                held.finish(tp, offset)

        return finished

    def _bury(self, record: Record, epoch: int, finished: Callable[[bool], None]) -> None:
        self._metrics.dead.labels(ENVELOPE_HANDLER, "broken").inc()
        pair = record.pair(ENVELOPE_HANDLER, 0)
        self._ledger.put(PairEntry(epoch, record, pair, burial(), False, finished))  # noqa: FBT003 -- was_parked
