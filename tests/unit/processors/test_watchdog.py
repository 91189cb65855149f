"""The watchdog against a plain list of what happened: it speaks when there was work and nothing moved for so long."""

from hypothesis import given
from hypothesis import strategies as st

from processors.pairs import Pair
from processors.watchdog import Running, Watchdog

AFTER_S = 10.0


@given(st.lists(st.tuples(st.floats(0, 6), st.booleans(), st.booleans()), max_size=50))
def test_it_speaks_when_nothing_has_moved_for_so_long_although_there_was_work(steps):
    dog, now, moves, quiet_since = Watchdog(stalled_after_s=AFTER_S, now=0.0), 0.0, 0, 0.0
    for pause_s, moved, has_work in steps:
        now += pause_s
        moves += moved
        if moved or not has_work:
            quiet_since = now
        report = dog.look(now, moves=moves, has_work=has_work, running=[])
        assert (report is not None) == (now - quiet_since >= AFTER_S)
        assert dog.stalled_s == now - quiet_since


def test_its_report_names_what_has_run_longest():
    dog = Watchdog(stalled_after_s=AFTER_S, now=0.0)
    running = [
        Running(
            Pair("demo", "location-1", f"delivery-{n}", "live", "greet", 0), "ContactCreate", f"contact-{n}", float(n)
        )
        for n in reversed(range(20))
    ]
    report = dog.look(30.0, moves=0, has_work=True, running=running)

    assert report is not None
    fields = report.fields(30.0)
    assert fields["stalled_s"] == 30.0
    assert [each["entity"] for each in fields["running"]] == [f"contact-{n}" for n in range(10)]
    assert fields["running"][0] == {
        "handler": "greet",
        "type": "ContactCreate",
        "entity": "contact-0",
        "tenant": "location-1",
        "delivery": "delivery-0",
        "for_s": 30.0,
    }
