"""What a partition number counts: quotas of live and replay apart, what each tenant has in memory."""

import itertools
from collections import Counter

import msgspec
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from processors.pairs import Record
from processors.partitions import Change, Number, Phase, by_number
from schemas.settings import Kafka
from tests.support.deliveries import delivery

EVENTS, REPLAY = TopicPartition("highlevel.events.contact", 0), TopicPartition("highlevel.replay", 0)


def number() -> Number:
    made = Number(0, [EVENTS, REPLAY], Phase.ACTIVE, replay=REPLAY.topic)
    for tp in (EVENTS, REPLAY):
        made.begin(tp, 0)
    return made


def record(offset, tenant="location-1", **changes) -> Record:
    built = delivery(Kafka(), tenant=tenant, **changes)
    return Record(built.envelope, built.topic, 0, offset, built.headers, built.body)


def pauses(held, quota=10):
    return [held.wants_pause(tp, quota=quota, max_gap=1000) for tp in (EVENTS, REPLAY)]


def test_a_full_number_reads_on_when_half_of_its_quota_is_free():
    held = number()
    for offset in range(10):
        held.take(EVENTS, record(offset))
    seen = [pauses(held)[0]]
    for offset in range(5):
        held.finish(EVENTS, offset)
        seen.append(pauses(held)[0])

    assert seen == [True, True, True, True, True, False]


def test_a_replay_that_waits_does_not_stop_what_is_live():
    held = number()
    for offset in range(10):
        held.take(REPLAY, record(offset, replay_id="r-1"))

    assert pauses(held) == [False, True]


def test_reading_pauses_where_one_offset_holds_back_too_many():
    held = number()
    for offset in range(6):
        held.take(EVENTS, record(offset))
    for offset in range(1, 6):
        held.finish(EVENTS, offset)

    assert held.wants_pause(EVENTS, quota=10, max_gap=6)
    assert not held.wants_pause(EVENTS, quota=10, max_gap=7)


def test_a_tenants_backlog_is_what_is_more_than_it_may_have_and_copies_are_no_part_of_it():
    held = number()
    few = [record(offset) for offset in range(3)]
    other, copy = record(3, tenant="location-2"), record(4, id=few[0].envelope.id)
    for each in (*few, other):
        held.take(EVENTS, each)

    assert held.is_backlog(few[2], most=2)
    assert not held.is_backlog(few[2], most=3)
    assert not held.is_backlog(other, most=2)
    assert held.is_single(few[0])
    held.take(EVENTS, copy)
    assert not held.is_single(few[0])
    held.finish(EVENTS, 0)
    assert held.is_single(copy)


RECORDS = {
    each: record(0, app=each[0], tenant=each[1], replay_id=each[2], id=each[3])
    for each in itertools.product(["app-1", "app-2"], ["location-1", "location-2"], [None, "r-1"], ["d-1", "d-2"])
}


@given(st.lists(st.tuples(st.sampled_from("tfba"), st.integers(0, 8), st.sampled_from([*RECORDS]))))
def test_what_is_unfinished_is_counted_like_a_set_would(steps):
    held, model = number(), {}
    aside: set[int] = set()
    read_up_to = 0
    for step, offset, each in steps:
        if step == "t" and offset >= read_up_to:
            held.take(EVENTS, msgspec.structs.replace(RECORDS[each], offset=offset))
            model[offset] = each
            read_up_to = offset + 1
        elif step == "f":
            held.finish(EVENTS, offset)
            model.pop(offset, None)
        elif step == "a":
            held.set_aside(EVENTS, offset)
            aside.add(offset)
        elif step == "b":
            held.begin(EVENTS, 0)
            model, read_up_to = {}, 0
        aside &= model.keys()
        assert held.unfinished == len(model)
        assert held.wants_pause(EVENTS, quota=len(model) - len(aside), max_gap=1000)
        assert not held.wants_pause(EVENTS, quota=1000, max_gap=1000)
        deliveries = Counter(model.values())
        tenants = Counter(of[:3] for offset, of in model.items() if offset not in aside)
        for of, one in RECORDS.items():
            assert held.is_single(one) == (deliveries[of] == 1)
            assert not held.is_backlog(one, most=tenants[of[:3]])
            assert held.is_backlog(one, most=tenants[of[:3]] - 1)


@given(
    quota=st.integers(1, 6),
    max_gap=st.integers(1, 8),
    steps=st.lists(st.tuples(st.sampled_from([EVENTS, REPLAY]), st.integers(0, 12) | st.none()), max_size=60),
)
def test_reading_stops_at_the_quota_or_the_gap_and_goes_on_at_half_of_it(quota, max_gap, steps):
    held, full = number(), {EVENTS: False, REPLAY: False}
    read, unfinished = {EVENTS: 0, REPLAY: 0}, {EVENTS: set[int](), REPLAY: set[int]()}
    for tp, finishes in steps:
        if finishes is None:
            held.take(tp, record(read[tp], replay_id="r-1" if tp == REPLAY else None))
            unfinished[tp].add(read[tp])
            read[tp] += 1
        else:
            held.finish(tp, finishes)
            unfinished[tp].discard(finishes)
        for each in (EVENTS, REPLAY):
            least = quota // 2 + 1 if full[each] else quota
            full[each] = len(unfinished[each]) >= least
            gap = read[each] - min(unfinished[each], default=read[each])
            assert held.wants_pause(each, quota=quota, max_gap=max_gap) == (full[each] or gap >= max_gap)


@given(st.sampled_from([Phase.CLAIMING, Phase.ODD]), st.lists(st.sampled_from(Change)))
def test_a_number_is_read_from_its_claim_until_it_is_fenced_or_given_back_and_an_odd_one_never(first, changes):
    held = Number(0, [EVENTS, REPLAY], first, replay=REPLAY.topic)
    is_active = is_given_back = False
    for change in changes:
        before = held.phase
        is_given_back |= change is Change.GIVEN_BACK
        is_active = change is Change.CLAIMED or (is_active and change is not Change.FENCED)
        is_active &= first is not Phase.ODD and not is_given_back
        assert held.change(change) == (held.phase is not before)
        assert held.wants_pause(EVENTS, quota=10, max_gap=10) == (not is_active)
        assert (held.phase is Phase.ACTIVE) == is_active
        assert (held.phase is Phase.CLOSING) == is_given_back


def test_a_number_that_lacks_a_topic_is_odd():
    whole = [TopicPartition(topic, 0) for topic in ("a", "b")]

    found = by_number([*whole, TopicPartition("a", 1)], ["a", "b"], replay="b")

    assert {n: held.phase for n, held in found.items()} == {0: Phase.CLAIMING, 1: Phase.ODD}
