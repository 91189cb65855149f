"""Recently recorded pairs against the answers of look-ups: between the two nothing recorded is ever missed."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.pairs import Pair
from processors.recent_pairs import RecentPairs

PAIRS = [Pair("demo", "location-1", f"delivery-{n}", "live", "greet", 0) for n in range(4)]

pairs = st.sampled_from(PAIRS)


class RecentPairsAgainstAnswers(RuleBasedStateMachine):
    """Pairs are recorded, committed, and known to be written later; look-ups see what is committed when they begin."""

    def __init__(self):
        super().__init__()
        self.recent = RecentPairs()
        self.recorded: set[Pair] = set()
        self.committed: set[Pair] = set()
        self.flushing: set[Pair] = set()
        self.under_way: tuple[int, set[Pair]] | None = None
        # What is looked at after the end of a look-up: its own answer, and the one of the look-up before.
        self.answers: list[set[Pair]] = []
        self.ends_since_written: dict[Pair, int] = {}

    @rule(pair=pairs)
    def record(self, pair):
        self.recent.add(pair)
        self.recorded.add(pair)
        self.ends_since_written.pop(pair, None)

    @precondition(lambda self: not self.flushing)
    @rule()
    def a_flush_commits(self):
        self.flushing = self.recorded - self.ends_since_written.keys()
        self.committed |= self.flushing

    @rule()
    def a_flush_is_known_to_have_ended(self):
        for pair in self.flushing:
            self.recent.written(pair)
            self.ends_since_written[pair] = 0
        self.flushing = set()

    @precondition(lambda self: not self.under_way)
    @rule()
    def a_look_up_begins(self):
        self.under_way = (self.recent.begin(), set(self.committed))

    @precondition(lambda self: self.under_way)
    @rule()
    def a_look_up_ends(self):
        assert self.under_way is not None
        number, answer = self.under_way
        self.under_way = None
        self.recent.end(number)
        self._ended(answer)

    @precondition(lambda self: not self.under_way)
    @rule()
    def nobody_asks(self):
        self.recent.pass_over()
        self._ended(set(self.committed))

    def _ended(self, answer):
        self.answers = [*self.answers, answer][-2:]
        for pair in self.ends_since_written:
            self.ends_since_written[pair] += 1

    @invariant()
    def whoever_goes_by_an_answer_misses_nothing(self):
        for answer in self.answers:
            assert self.recorded - answer <= {pair for pair in PAIRS if pair in self.recent}

    @invariant()
    def nothing_is_kept_for_long(self):
        # The first look-up to end may have begun before the pair was written; the next two had not.
        assert not [pair for pair, ends in self.ends_since_written.items() if ends > 2 and pair in self.recent]
        assert len(self.recent) == sum(pair in self.recent for pair in PAIRS)


TestRecentPairs = RecentPairsAgainstAnswers.TestCase
