"""Which of what waits folds, and what one run makes of all that it was for."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.client import ApiCall
from processors.coalescing import Fold, Place, foldable
from processors.handlers import BUILT_IN
from processors.pairs import Dead, Done, Failure, History, Pair, Parked
from processors.registry import Handler, marked
from schemas.settings import Kafka
from tests.support.deliveries import delivery

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def noop(event, ctx):
    pass


A, B = (Handler(name, ("ContactUpdate",), noop, built_in=False) for name in "ab")

waiting = st.lists(st.sets(st.sampled_from([0, 1])), max_size=8)
histories = st.builds(
    History,
    st.integers(0, 3),
    st.lists(st.just(Failure(NOW, "ValueError", "no")), max_size=2).map(tuple),
    st.lists(st.just(ApiCall("GET", "/contacts/before", 429, 1.0)), max_size=2).map(tuple),
)
RUN = History(1, (), (ApiCall("GET", "/contacts/c", 200, 1.0),))


def nothing_behind(place):
    return []


def never_finished(ours):
    raise AssertionError("nothing is dispatched here")


def places(wanted):
    """Places of deliveries, and who handles each."""
    made = [Place(delivery(Kafka()), 1, never_finished, nothing_behind) for _ in wanted]
    handlers = {
        place.record.envelope.id: [(A, B)[n] for n in sorted(each)] for place, each in zip(made, wanted, strict=True)
    }
    return made, lambda record: handlers[record.envelope.id]


@given(waiting)
def test_what_a_handler_wants_folds_up_to_what_others_alone_handle(wanted):
    made, handlers_of = places(wanted)

    chosen = foldable(A, made, handlers_of)

    numbers = [made.index(place) for place in chosen]
    end = next((n for n, each in enumerate(wanted) if each == {1}), len(wanted))
    assert numbers == [n for n in range(end) if 0 in wanted[n]]


def fold_of(followers, history, received_at=NOW):
    def pair(number):
        return Pair("demo", "location-1", f"d{number}", "live", "a", 0)

    record = delivery(Kafka())
    return Fold(pair(0), history, received_at, {pair(n + 1): record for n in range(followers)})


@given(st.integers(1, 5), histories)
def test_a_run_that_ends_well_does_all_and_counts_as_the_newests(followers, history):
    fold = fold_of(followers, history)

    settled = fold.settle(Done(NOW, RUN), deadline_s=None)

    assert settled is not None
    assert set(settled) == {fold.leader, *fold.followers}
    newest = [*fold.followers][-1]
    assert settled[newest] == Done(NOW, RUN)
    assert settled[fold.leader] == Done(NOW, history)
    assert {settled[pair] for pair in [*fold.followers][:-1]} <= {Done(NOW, History())}
    assert set(fold.others) == set(settled) - {newest}


@given(st.integers(1, 5), histories, st.sampled_from(["retry", "waiting"]), st.none() | st.integers(1, 100))
def test_a_run_that_fails_parks_the_leader_alone_and_not_beyond_its_deadline(followers, history, reason, deadline_s):
    fold = fold_of(followers, history, received_at=NOW - timedelta(seconds=50))
    failed = History(reason == "retry", (Failure(NOW, "KeyError", "x"),), RUN.calls)
    due_at = NOW + timedelta(seconds=30)

    settled = fold.settle(Parked(NOW, failed, reason, due_at), deadline_s=deadline_s)

    if deadline_s is not None and deadline_s <= 50:
        assert settled is None, "its own run is to be the last one"
        return
    assert settled is not None
    (parked,) = settled.values()
    assert list(settled) == [fold.leader]
    assert isinstance(parked, Parked)
    assert parked.reason == reason
    assert parked.history.attempts == history.attempts + failed.attempts
    assert parked.history.failures[-1] == failed.failures[-1]
    assert parked.due_at is not None
    assert NOW < parked.due_at <= due_at
    assert deadline_s is None or parked.due_at <= fold.received_at + timedelta(seconds=deadline_s)


@given(st.integers(1, 5), histories)
def test_a_run_that_would_be_given_up_decides_nothing(followers, history):
    assert fold_of(followers, history).settle(Dead(NOW, RUN), deadline_s=None) is None


def test_the_sync_handlers_coalesce_but_those_that_need_more_of_an_event_than_its_entity():
    handlers = [handler for module in BUILT_IN for handler in marked(module, built_in=True)]

    apart = {handler.name.rpartition(".")[2] for handler in handlers if not handler.overrides.coalesce}

    assert apart == {
        "record_install",
        "record_uninstall",
        "mirror_message",
        "mirror_task",
        "mirror_user",
        "merge_conversations",
    }
