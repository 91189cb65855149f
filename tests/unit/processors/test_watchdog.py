"""The watchdog against a plain list of what happened: it speaks when there was work and nothing moved for so long."""

from hypothesis import given
from hypothesis import strategies as st

from processors.pairs import Pair
from processors.watchdog import Running, Standing, Watchdog, Work

AFTER_S = 10.0

standings = st.builds(Standing, unread=st.integers(0, 2), unfinished=st.integers(0, 2))


def watchdog(rebalance_s=0.0) -> Watchdog:
    return Watchdog(stalled_after_s=AFTER_S, rebalance_s=rebalance_s, now=0.0)


@given(
    rebalance_s=st.sampled_from([AFTER_S / 2, AFTER_S * 2]),
    steps=st.lists(st.tuples(st.floats(0, 6), st.booleans(), standings), max_size=50),
)
def test_it_speaks_when_nothing_has_moved_for_so_long_although_there_was_work(rebalance_s, steps):
    dog, now, moves, quiet_since = watchdog(rebalance_s), 0.0, 0, 0.0
    for pause_s, moved, standing in steps:
        now += pause_s
        moves += moved
        if moved or standing.work is None:
            quiet_since = now
        patience_s = max(AFTER_S, rebalance_s) if standing.work in {Work.JOINING, Work.CLAIMING} else AFTER_S
        report = dog.look(now, moves=moves, standing=standing, running=[])
        is_late = standing.work is not None and now - quiet_since >= patience_s
        assert (report is not None, dog.is_stalled) == (is_late, is_late)
        assert report is None or report.work is standing.work
        assert dog.stalled_s == now - quiet_since


@given(standings)
def test_there_is_work_where_something_waits_that_no_one_else_holds_up(standing):
    not_its_turn = not standing.is_member or standing.is_claiming
    may_read = standing.broker_answers and (not_its_turn or standing.unread > 0)

    assert (standing.work is not None) == (not standing.is_held and (standing.unfinished > 0 or may_read))


def test_a_worker_without_any_partition_in_a_group_that_has_fewer_is_idle():
    idle = Standing(is_held=False, broker_answers=True, is_member=True, is_claiming=False, unread=0, unfinished=0)

    assert idle.work is None


def test_its_report_names_what_has_run_longest():
    standing = Standing(is_held=False, broker_answers=True, is_member=True, is_claiming=False, unread=0, unfinished=20)
    running = [
        Running(
            Pair("demo", "location-1", f"delivery-{n}", "live", "greet", 0), "ContactCreate", f"contact-{n}", float(n)
        )
        for n in reversed(range(20))
    ]
    report = watchdog().look(30.0, moves=0, standing=standing, running=running)

    assert report is not None
    fields = report.fields(30.0)
    assert (fields["stalled_s"], fields["work"]) == (30.0, "unfinished")
    assert [each["entity"] for each in fields["running"]] == [f"contact-{n}" for n in range(10)]
    assert fields["running"][0] == {
        "handler": "greet",
        "type": "ContactCreate",
        "entity": "contact-0",
        "tenant": "location-1",
        "delivery": "delivery-0",
        "for_s": 30.0,
    }
