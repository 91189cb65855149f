"""The offset tracker against a set: nothing is committed past an unfinished offset, all of a finished prefix is."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.offsets import OffsetTracker


class TrackerAgainstASet(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.tracker = OffsetTracker()
        self.taken: list[int] = []
        self.finished: set[int] = set()

    @rule(hole=st.integers(min_value=0, max_value=3))
    def take_the_next(self, hole):
        offset = (self.taken[-1] + 1 if self.taken else 5) + hole
        assert self.tracker.take(offset)
        self.taken.append(offset)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def take_one_again(self, data):
        assert not self.tracker.take(data.draw(st.sampled_from(self.taken)))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def finish_one(self, data):
        offset = data.draw(st.sampled_from(self.taken))
        self.tracker.finish(offset)
        self.finished.add(offset)

    @invariant()
    def commits_the_lowest_unfinished(self):
        unfinished = [offset for offset in self.taken if offset not in self.finished]
        expected = unfinished[0] if unfinished else self.taken[-1] + 1 if self.taken else None
        assert self.tracker.committable == expected
        assert self.tracker.gap == (self.taken[-1] + 1 - unfinished[0] if unfinished else 0)


TestTrackerAgainstASet = TrackerAgainstASet.TestCase


def test_a_known_start_can_be_committed_before_anything_was_read():
    assert OffsetTracker(7).committable == 7


def test_what_lies_before_the_start_is_not_taken():
    tracker = OffsetTracker(7)
    assert not tracker.take(6)
    assert tracker.take(7)
