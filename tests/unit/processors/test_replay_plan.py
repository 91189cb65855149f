import msgspec
from hypothesis import given
from hypothesis import strategies as st

from levelgate.cli.replays.choosing import span, told
from processors.registry import Handler, Registry
from processors.replays.pace import Pace
from processors.replays.plan import Kind, Measured, count, estimate
from processors.replays.room import BOUNDS
from schemas.settings import Kafka, Vendor
from tests.support.deliveries import delivery


async def _nothing(_event, _ctx):
    pass


REGISTRY = Registry(
    [
        Handler("plans", ("SaasPlanCreate",), _nothing, built_in=False),
        Handler("greet", ("ContactCreate",), _nothing, built_in=False),
        Handler("notify", ("ContactCreate", "NoteCreate"), _nothing, built_in=False),
    ]
)


def planned(counts, *, rate=100.0, calls=None):
    return estimate(counts, REGISTRY, calls or {}, rate=rate, vendor=Vendor())


def test_calls_are_each_handlers_average_and_one_where_none_of_its_runs_was_seen():
    plan = planned({Kind("demo", "t", "ContactCreate", ()): 10}, calls={"greet": Measured(2.55)})

    assert plan.api_calls == 10 * 2.55 + 10 + 0.5  # rounded up
    assert [(each.handler, each.calls, each.is_measured) for each in plan.handlers] == [
        ("greet", 2.55, True),
        ("notify", 1.0, False),
    ]
    assert "one API call a run is assumed of notify: of the last day's, none was looked at" in told(plan)


def test_an_estimate_from_runs_of_which_not_every_call_is_recorded_says_at_least():
    calls = {"greet": Measured(2.0), "notify": Measured(18.5, is_at_least=True)}
    plan = planned({Kind("demo", "t", "NoteCreate", ()): 10}, calls=calls)

    assert [each.is_at_least for each in plan.handlers] == [True]
    assert told(plan)[0].startswith("at least 185 API calls")


async def test_a_list_body_is_a_run_of_each_of_its_elements():
    three = delivery(Kafka(), type="SaasPlanCreate", body=[{"type": "SaasPlanCreate"}] * 3)
    one_of_them = msgspec.structs.replace(three, envelope=msgspec.structs.replace(three.envelope, replay_element=1))
    spoilt = msgspec.structs.replace(three, body=b"[")

    async def records():
        for each in (three, three, one_of_them, spoilt):
            yield each

    counted = await count(records(), lambda _total: None)
    assert sorted((kind.elements, number) for kind, number in counted.items()) == [(1, 2), (3, 2)]
    plan = planned(counted)
    assert (plan.total, plan.handlers[0].pairs, plan.api_calls) == (4, 8, 8)


def test_a_restricted_event_costs_what_its_handler_costs():
    plan = planned({Kind("demo", "t", "ContactCreate", ("notify",)): 10, Kind("demo", "t", "X", ()): 3})

    assert [(each.handler, each.pairs) for each in plan.handlers] == [("notify", 10)]
    assert (plan.total, plan.without_handler, plan.api_calls) == (13, 3, 10)


def test_the_time_is_the_rates_or_the_rooms_or_the_busiest_tenants_whichever_is_longer():
    spread = {Kind("demo", f"t-{n}", "NoteCreate", ()): 10 for n in range(100)}
    assert (planned(spread).duration_s, planned(spread).bound_by) == (10.0, "rate")
    # Two seconds' worth of what may be open, however fast it is to be.
    nothing_runs = planned({Kind("demo", "t", "X", ()): 2 * BOUNDS.unhandled}, rate=100_000.0)
    assert (nothing_runs.duration_s, nothing_runs.bound_by) == (2.0, "room")
    # A quarter of 100 calls in 10 seconds, and a bit of margin: 39 intervals after the first one.
    one = planned({Kind("demo", "t", "NoteCreate", ()): 1000})
    assert (one.duration_s, one.bound_by) == (399.8, "budget")


def test_tenants_of_which_it_takes_more_than_a_days_share_of_calls_are_named_and_take_days():
    plan = planned({Kind("demo", "big", "NoteCreate", ()): 120_000, Kind("demo", "small", "NoteCreate", ()): 50_000})

    assert [each.tenant for each in plan.over_day_share] == ["big"]
    assert plan.duration_s == plan.over_day_share[0].duration_s
    assert (
        "MORE API CALLS THAN A DAY'S SHARE of replays, 50000, for big (120000: 2.2 d): what is over it waits for the "
        "next day, live events don't"
    ) in told(plan)


@given(
    st.dictionaries(
        st.builds(
            Kind,
            st.sampled_from(["a", "b"]),
            st.sampled_from(["t", "u"]),
            st.sampled_from(["ContactCreate", "NoteCreate", "X"]),
            st.sampled_from([(), ("greet",)]),
        ),
        st.integers(min_value=1, max_value=10**6),
    )
)
def test_the_parts_of_a_plan_add_up(counts):
    plan = planned(counts)

    assert plan.total == sum(counts.values()) == sum(plan.by_type.values())
    assert plan.total == sum(each.deliveries for each in plan.by_tenant)
    assert plan.api_calls == sum(each.api_calls for each in plan.by_tenant)
    assert list(plan.by_type.values()) == sorted(plan.by_type.values(), reverse=True)


@given(st.floats(min_value=0.5, max_value=5000), st.lists(st.floats(min_value=0, max_value=3), min_size=1))
def test_the_pace_is_never_faster_than_its_rate(rate, gaps):
    pace, now = Pace(rate), 0.0
    sent: list[float] = []
    for gap in gaps:
        now += gap
        while pace.wait_s(now) <= 0 and len(sent) < 500:
            pace.sent(now)
            sent.append(now)
    for first in range(0, len(sent), 10):
        in_a_second = [at for at in sent[first:] if at < sent[first] + 1]
        assert len(in_a_second) <= rate * 1.05 + 1.001


def test_a_sleep_that_ends_late_does_not_slow_it_down():
    pace, now, sent = Pace(1000), 0.0, 0
    while now < 1:
        now += 0.002  # what a sleep of 1 ms takes
        while pace.wait_s(now) <= 0:
            pace.sent(now)
            sent += 1
    assert 990 < sent < 1060


def test_spans_are_told_in_a_unit_that_fits():
    assert [span(s) for s in (3, 119, 120, 7200, 200_000)] == ["3 s", "119 s", "2 min", "2.0 h", "2.3 d"]
