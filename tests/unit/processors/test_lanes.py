"""Lanes against lists: order within a lane, one at a time, turns between tenants, nothing lost."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.lanes import Lanes


class LanesAgainstLists(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.lanes: Lanes[int] = Lanes()
        self.waiting: dict[tuple[str, str], list[int]] = {}
        self.busy: dict[tuple[str, str], int] = {}
        self.count = 0

    @rule(tenant=st.sampled_from("abc"), entity=st.sampled_from("xy"))
    def add(self, tenant, entity):
        self.count += 1
        self.lanes.add(self.count, lane=(tenant, entity), tenant=tenant)
        self.waiting.setdefault((tenant, entity), []).append(self.count)

    @rule()
    def take(self):
        startable = {lane for lane, work in self.waiting.items() if work and lane not in self.busy}
        assert self.lanes.is_ready == bool(startable)
        taken = self.lanes.take()
        if taken is None:
            assert not startable
            return
        lane, work = taken
        assert lane in startable
        assert self.waiting[lane].pop(0) == work
        self.busy[lane] = work

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def release(self, data):
        lane = data.draw(st.sampled_from(sorted(self.busy)))
        del self.busy[lane]
        self.lanes.release(lane)

    @rule(odd=st.booleans())
    def discard(self, odd):
        self.lanes.discard(lambda work: work % 2 == odd)
        self.waiting = {lane: [w for w in work if w % 2 != odd] for lane, work in self.waiting.items()}

    @invariant()
    def holds_what_waits(self):
        assert sorted(self.lanes) == sorted(work for lane in self.waiting.values() for work in lane)
        assert len(self.lanes) == sum(len(work) for work in self.waiting.values())


TestLanesAgainstLists = LanesAgainstLists.TestCase


def test_one_tenants_flood_does_not_go_before_anothers_single_delivery():
    lanes: Lanes[str] = Lanes()
    for number in range(1000):
        lanes.add(f"flood-{number}", lane=("flood", number), tenant="flood")
    lanes.add("single", lane=("quiet", 0), tenant="quiet")

    first_two = [lanes.take(), lanes.take()]

    assert "single" in [work for _, work in filter(None, first_two)]


def test_a_busy_lane_keeps_its_later_work_until_it_is_released():
    lanes: Lanes[str] = Lanes()
    lanes.add("first", lane="contact", tenant="t")
    lanes.add("second", lane="contact", tenant="t")

    assert lanes.take() == ("contact", "first")
    assert lanes.take() is None
    lanes.release("contact")
    assert lanes.take() == ("contact", "second")
