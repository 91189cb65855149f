"""Which pairs this worker recorded so lately that an answer of the ledger may not have them.

Pure: told of what is recorded, what is written and when look-ups begin and end. An answer has what was written before
its look-up began; who asked goes by it a moment later, when the next look-up may have ended already. So a pair is kept
until a second look-up has ended that began after the writing. What is kept stays small as long as look-ups end; where
nobody asks, `pass_over` stands for one.
"""

from collections import deque

from processors.pairs import Pair


class RecentPairs:
    """Pairs that are not written yet, or were written lately: `pair in recent`."""

    def __init__(self) -> None:
        self._written: dict[Pair, int | None] = {}
        """None: not written yet; else how many look-ups had begun by then."""
        self._oldest: deque[tuple[int, Pair]] = deque()
        self._begun = 0

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._written

    def __len__(self) -> int:
        return len(self._written)

    def add(self, pair: Pair) -> None:
        """Note that a pair is recorded and not written yet."""
        self._written[pair] = None

    def written(self, pair: Pair) -> None:
        """Note that a pair is in Postgres: look-ups that begin from now on see it."""
        self._written[pair] = self._begun
        self._oldest.append((self._begun, pair))

    def drop(self, pair: Pair) -> None:
        """Forget a pair that is not to be written: its partition is another's."""
        self._written.pop(pair, None)

    def begin(self) -> int:
        """Note that a look-up begins; return its number."""
        self._begun += 1
        return self._begun

    def end(self, number: int) -> None:
        """Note that a look-up has ended, and that its answers are about to be gone by."""
        # Those of the one before it may be in use still: what was written before that one began is in all of them.
        while self._oldest and self._oldest[0][0] < number - 1:
            since, pair = self._oldest.popleft()
            if self._written.get(pair) == since:
                del self._written[pair]

    def pass_over(self) -> None:
        """Count a look-up that nobody wanted; only while none is under way or asked for, and once a flush at most."""
        self.end(self.begin())
