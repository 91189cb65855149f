"""Lanes against lists: order within a lane, one at a time, turns between tenants, nobody has all, nothing lost."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processors.lanes import Lanes

MOST = 2


class LanesAgainstLists(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.lanes: Lanes[int] = Lanes(most_of_a_tenant=MOST)
        self.waiting: dict[tuple[str, str], list[int]] = {}
        self.busy: dict[tuple[str, str], int] = {}
        self.count = 0

    @rule(tenant=st.sampled_from("abc"), entity=st.sampled_from("wxyz"))
    def add(self, tenant, entity):
        self.count += 1
        self.lanes.add(self.count, lane=(tenant, entity), tenant=tenant)
        self.waiting.setdefault((tenant, entity), []).append(self.count)

    @rule()
    def take(self):
        busy = Counter(tenant for tenant, _ in self.busy)
        startable = {
            lane for lane, work in self.waiting.items() if work and lane not in self.busy and busy[lane[0]] < MOST
        }
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

    @rule(tenant=st.sampled_from("abc"), entity=st.sampled_from("wxyz"), odd=st.booleans())
    def withdraw(self, tenant, entity, odd):
        lane = (tenant, entity)
        assert list(self.lanes.waiting(lane)) == self.waiting.get(lane, [])
        self.lanes.withdraw(lane, lambda work: work % 2 == odd)
        self.waiting[lane] = [w for w in self.waiting.get(lane, []) if w % 2 != odd]

    @invariant()
    def holds_what_waits(self):
        assert sorted(self.lanes) == sorted(work for lane in self.waiting.values() for work in lane)
        assert len(self.lanes) == sum(len(work) for work in self.waiting.values())


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

    lanes.add("single", lane=("quiet", 0), tenant="quiet")

    assert lanes.take() == (("quiet", 0), "single")
    lanes.release(("flood", 0))
    assert lanes.take() == (("flood", 2), "flood-2")
