"""Lines against lists: who waits behind whom, and whether the end of a first run lets somebody go."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.pairs import Line
from processors.parking import Lines

NUMBERS = (0, 1)
LINES = [Line("demo", "location-1", "topic", entity, "greet", "live") for entity in ("contact-1", "contact-2")]

numbers = st.sampled_from(NUMBERS)
lines = st.sampled_from(LINES)


class LinesAgainstLists(RuleBasedStateMachine):
    """Numbers are claimed and dropped, pairs park and end, first runs begin and end, in any order."""

    def __init__(self):
        super().__init__()
        self.lines = Lines()
        self.epochs: dict[int, int] = {}
        self.parked: dict[int, list[Line]] = {}
        self.running: list[tuple[int, int, Line]] = []
        self.claims = 0

    @rule(number=numbers, found=st.lists(lines, max_size=3))
    def claim(self, number, found):
        self.claims += 1
        self.epochs[number], self.parked[number] = self.claims, list(found)
        self.lines.load(number, Counter(found))

    @rule(number=numbers)
    def drop(self, number):
        self.epochs.pop(number, None)
        self.parked.pop(number, None)
        self.lines.drop(number)

    @rule(number=numbers, line=lines)
    def park(self, number, line):
        self.lines.join(number, line)
        if number in self.parked:
            self.parked[number].append(line)

    @rule(number=numbers, line=lines)
    def a_parked_pair_ends(self, number, line):
        # Of a relaxed handler also one that was never counted.
        self.lines.leave(number, line)
        if line in self.parked.get(number, ()):
            self.parked[number].remove(line)

    @rule(number=numbers, line=lines)
    def a_first_run_begins(self, number, line):
        epoch = self.epochs.get(number, 0)
        self.lines.open(number, epoch, line)
        if number in self.epochs:
            self.running.append((number, epoch, line))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_first_run_ends(self, data):
        # Also one of an epoch that is over: what follows from that the ledger drops.
        run = data.draw(st.sampled_from(self.running))
        self.running.remove(run)
        number, epoch, line = run
        is_last = self.epochs.get(number) != epoch or run not in self.running
        is_waited_for = line in self.parked.get(number, ())
        assert self.lines.close(number, epoch, line) == (is_last and is_waited_for)

    @invariant()
    def says_what_the_lists_say(self):
        for number in NUMBERS:
            for line in LINES:
                assert self.lines.length(number, line) == self.parked.get(number, []).count(line)
                assert self.lines.is_waiting(number, line) == (line in self.parked.get(number, ()))
                epoch = self.epochs.get(number, 0)
                assert self.lines.is_open(number, epoch, line) == ((number, epoch, line) in self.running)


TestLinesAgainstLists = LinesAgainstLists.TestCase
