"""Which offsets of one partition are finished, so that only a gapless prefix is committed.

Pure: no Kafka, no clock, no I/O. Fed by the consumer, checked by Hypothesis against a set.
Offsets may have holes (a log can: compaction, transactions), so taken ones are remembered, not counted.
"""

from collections import deque


class OffsetTracker:
    """The taken and the finished offsets of one topic partition."""

    def __init__(self, start: int | None = None) -> None:
        """Begin at `start`, the offset to be read first, where it is known."""
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._next = start

    def take(self, offset: int) -> bool:
        """Note that `offset` was read; False where it was read before (a seek back), to be skipped then."""
        if self._next is not None and offset < self._next:
            return False
        self._open.append(offset)
        self._next = offset + 1
        return True

    def finish(self, offset: int) -> None:
        """Mark a taken offset as finished; finishing twice changes nothing."""
        if self._open and offset >= self._open[0]:
            self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            self._finished.discard(self._open.popleft())

    @property
    def committable(self) -> int | None:
        """The offset to commit: the lowest unfinished one, else the one after the last read; None before any."""
        return self._open[0] if self._open else self._next

    @property
    def gap(self) -> int:
        """How far reading is ahead of the lowest unfinished offset, in offsets."""
        return self._next - self._open[0] if self._open and self._next is not None else 0
