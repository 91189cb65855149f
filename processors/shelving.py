"""Parks deliveries unrun where their tenant has too much in memory, so that its partition keeps moving (design §9.9).

What is parked here counts as finished for its offset, and comes back by the due poll, in order and in turns with the
other tenants. Order holds, because a line that is open in memory is let go only when that run has ended.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from processors.context import events_of
from processors.ledger import Ledger
from processors.ledger_rows import BacklogEntry, IndexEntry, ReleaseEntry
from processors.pairs import History, Line, Pair, Parked, Record
from processors.parking import BACKLOG, Lines
from processors.pending import Pending
from processors.registry import Handler
from schemas.errors import LevelgateError
from schemas.metrics import WorkerMetrics


class Shelf:
    """Puts deliveries aside; one for a worker.

    `handlers_of`, `is_strict` and `is_running` are the dispatcher's: who is to be given a delivery, in order or not,
    and whether one of them runs for it.
    """

    def __init__(
        self,
        ledger: Ledger,
        lines: Lines,
        *,
        handlers_of: Callable[[Record], tuple[Handler, ...]],
        is_strict: Callable[[str], bool],
        is_running: Callable[[Record], bool],
        metrics: WorkerMetrics,
    ) -> None:
        self._ledger = ledger
        self._lines = lines
        self._handlers_of = handlers_of
        self._is_strict = is_strict
        self.is_running = is_running
        self._metrics = metrics

    def put(self, record: Record, *, epoch: int, finished: Callable[[bool], None]) -> None:
        """Park all pairs of a delivery that does not run and has no turn to come; those of an entity in order.

        `finished` as in `Place`.
        """
        handlers = self._handlers_of(record)
        elements = _elements(record) if handlers else 0
        pending = Pending(len(handlers) * elements + 1, finished)
        names = tuple(handler.name for handler in handlers)
        self._ledger.put(IndexEntry(epoch, record, names, elements, pending.recorded))
        for handler in handlers:
            for element in range(elements):
                self._park(record, record.pair(handler.name, element), epoch, pending.recorded)

    def _park(self, record: Record, pair: Pair, epoch: int, recorded: Callable[[bool], None]) -> None:
        now, number, line = datetime.now(UTC), record.partition, record.line(pair.handler)
        if not self._is_strict(pair.handler):
            self._put(record, pair, epoch, now, recorded, line=None)
            return
        is_open, is_behind = self._lines.is_open(number, epoch, line), self._lines.is_waiting(number, line)
        self._lines.join(number, line)
        self._put(record, pair, epoch, None if is_open or is_behind else now, recorded, line=line)
        if is_behind and not is_open:
            # What it waits behind may have ended meanwhile. Where the line is open, the end of that run looks.
            self._ledger.put(ReleaseEntry(epoch, record, pair.handler))

    def _put(
        self,
        record: Record,
        pair: Pair,
        epoch: int,
        due_at: datetime | None,
        recorded: Callable[[bool], None],
        *,
        line: Line | None,
    ) -> None:
        def known() -> None:
            if line is not None:
                self._lines.leave(record.partition, line)

        self._metrics.handled.labels(pair.handler, record.envelope.type, BACKLOG).inc()
        outcome = Parked(datetime.now(UTC), History(), BACKLOG, due_at)
        self._ledger.put(BacklogEntry(epoch, record, pair, outcome, known, recorded))


def _elements(record: Record) -> int:
    # Only a list has more than one, and only it need be read for that.
    if not record.body.lstrip().startswith(b"["):
        return 1
    try:
        return len(events_of(record))
    except LevelgateError:
        return 1
