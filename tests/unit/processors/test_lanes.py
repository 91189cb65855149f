"""Lanes against lists: order within a lane, one at a time, turns between tenants, nobody has all, nothing lost."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.lanes import Lanes

MOST = 2
TENANTS = "abc"

lanes = st.tuples(st.sampled_from(TENANTS), st.sampled_from("wxyz"))


class LanesAgainstLists(RuleBasedStateMachine):
    """Beside the lanes, what waits in each, and in which order tenants and their lanes have their turns."""

    def __init__(self):
        super().__init__()
        self.lanes: Lanes[int] = Lanes(most_of_a_tenant=MOST)
        self.waiting: dict[tuple[str, str], list[int]] = {}
        self.busy: set[tuple[str, str]] = set()
        self.turns: list[str] = []
        self.turns_of: dict[str, list[tuple[str, str]]] = {tenant: [] for tenant in TENANTS}
        self.count = 0

    def queue(self):
        """Let those that may start now queue up at the end, and those that may not any more leave their places."""
        for tenant, turns in self.turns_of.items():
            lanes = [
                lane for lane, work in self.waiting.items() if lane[0] == tenant and work and lane not in self.busy
            ]
            turns[:] = [each for each in turns if each in lanes] + [each for each in lanes if each not in turns]
        started = Counter(tenant for tenant, _ in self.busy)
        ready = [each for each in TENANTS if self.turns_of[each] and started[each] < MOST]
        self.turns = [each for each in self.turns if each in ready] + [each for each in ready if each not in self.turns]

    @rule(added=st.lists(lanes, min_size=1, max_size=4))
    def add(self, added):
        for lane in added:
            self.count += 1
            self.lanes.add(self.count, lane=lane, tenant=lane[0])
            self.waiting.setdefault(lane, []).append(self.count)
            self.queue()

    @rule()
    def take(self):
        assert self.lanes.is_ready == bool(self.turns)
        if not self.turns:
            assert self.lanes.take() is None
            return
        lane = self.turns_of[self.turns.pop(0)].pop(0)
        assert self.lanes.take() == (lane, self.waiting[lane].pop(0))
        self.busy.add(lane)
        self.queue()

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def release(self, data):
        lane = data.draw(st.sampled_from(sorted(self.busy)))
        self.busy.remove(lane)
        self.lanes.release(lane)
        self.queue()

    @rule(odd=st.booleans())
    def discard(self, odd):
        self.lanes.discard(lambda work: work % 2 == odd)
        self.waiting = {lane: [w for w in work if w % 2 != odd] for lane, work in self.waiting.items()}
        self.queue()

    @rule(lane=lanes, odd=st.booleans())
    def withdraw(self, lane, odd):
        self.lanes.withdraw(lane, lambda work: work % 2 == odd)
        self.waiting[lane] = [w for w in self.waiting.get(lane, []) if w % 2 != odd]
        self.queue()

    @invariant()
    def holds_what_waits(self):
        assert {lane: list(self.lanes.waiting(lane)) for lane in self.waiting} == self.waiting


TestLanesAgainstLists = LanesAgainstLists.TestCase


def test_one_tenants_flood_does_not_go_before_anothers_single_delivery():
    lanes: Lanes[str] = Lanes(most_of_a_tenant=1000)
    for number in range(1000):
        lanes.add(f"flood-{number}", lane=("flood", number), tenant="flood")
    lanes.add("single", lane=("quiet", 0), tenant="quiet")

    first_two = [lanes.take(), lanes.take()]

    assert "single" in [work for _, work in filter(None, first_two)]


def test_a_busy_lane_keeps_its_later_work_until_it_is_released():
    lanes: Lanes[str] = Lanes(most_of_a_tenant=1000)
    lanes.add("first", lane="contact", tenant="t")
    lanes.add("second", lane="contact", tenant="t")

    assert lanes.take() == ("contact", "first")
    assert lanes.take() is None
    lanes.release("contact")
    assert lanes.take() == ("contact", "second")


def test_a_flood_of_long_work_leaves_places_for_another_tenants_delivery_that_comes_later():
    lanes: Lanes[str] = Lanes(most_of_a_tenant=2)
    for number in range(4):
        lanes.add(f"flood-{number}", lane=("flood", number), tenant="flood")
    assert [lanes.take(), lanes.take()] == [(("flood", 0), "flood-0"), (("flood", 1), "flood-1")]
    assert lanes.take() is None

    for number in range(2):
        lanes.add(f"single-{number}", lane=("quiet", number), tenant="quiet")

    assert lanes.take() == (("quiet", 0), "single-0")
    lanes.release(("flood", 0))
    # The flood queues up again behind who waits by then.
    assert lanes.take() == (("quiet", 1), "single-1")
    assert lanes.take() == (("flood", 2), "flood-2")
