"""Comparing two lists of calls: by properties, and by the examples that operators will look at."""

import copy

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.recording import Call
from processors.comparison import MISSING, Change, Changed, OnlyNew, OnlyOld, changes, differences

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a", "~/"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "~/"]), inner),
    max_leaves=6,
)
CALLS = st.lists(
    st.builds(
        Call,
        st.sampled_from(["PUT /contacts/a", "PUT /contacts/b", "POST /contacts/"]),
        st.sampled_from(["location-1", "location-2"]),
        st.dictionaries(st.sampled_from(["limit", "skip"]), st.integers(0, 1)),
        JSON,
    ),
    max_size=6,
)


def as_sent(calls):
    fields = [[call.named, call.tenant, call.query, call.json] for call in calls]
    return [orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in fields]


def contact(contact_id="a", **fields):
    return Call(f"PUT /contacts/{contact_id}", "location-1", {}, fields)


@given(CALLS)
def test_the_same_calls_do_not_differ(calls):
    assert differences(calls, copy.deepcopy(calls)) == []


@given(CALLS, CALLS)
def test_a_difference_is_found_whichever_side_is_the_new_one(one, other):
    is_same = as_sent(one) == as_sent(other)

    assert (differences(one, other) == []) == is_same
    assert (differences(other, one) == []) == is_same


@given(CALLS, CALLS)
def test_without_what_differs_both_sides_are_the_same(old, new):
    found = differences(old, new)
    left_of_old, left_of_new = as_sent(old), as_sent(new)
    for each in found:
        if isinstance(each, OnlyOld | Changed):
            left_of_old.remove(*as_sent([each.old]))
        if isinstance(each, OnlyNew | Changed):
            left_of_new.remove(*as_sent([each.new]))

    assert sorted(left_of_old) == sorted(left_of_new)
    assert all(each.old.named == each.new.named and each.changes for each in found if isinstance(each, Changed))


@given(JSON, JSON)
def test_values_are_listed_where_and_only_where_bodies_differ(old, new):
    before, after = (Call("PUT /c", "location-1", {}, body) for body in (old, new))

    found = changes(before, after)

    assert (found == ()) == (as_sent([before]) == as_sent([after]))
    assert len({change.path for change in found}) == len(found)


def test_order_counts():
    one, other = contact("a"), contact("b")

    assert differences([one, other], [other, one]) != []


def test_a_changed_body_is_told_by_its_fields():
    old = contact(firstName="Ada", tags=["new", "lead"], note=None)
    new = contact(firstName="Ada", tags=["new", "customer"], source="web")

    (found,) = differences([contact("b"), old], [contact("b"), new])

    assert isinstance(found, Changed)
    assert found.changes == (
        Change("body/tags/1", "lead", "customer"),
        Change("body/note", None, MISSING),
        Change("body/source", MISSING, "web"),
    )


def test_another_path_is_a_call_on_each_side_and_the_rest_still_matches():
    old = [contact("a", x=1), contact("b", x=1), contact("c", x=1)]
    new = [contact("a", x=1), contact("z", x=1), contact("c", x=2)]

    assert differences(old, new) == [
        OnlyOld(old[1]),
        OnlyNew(new[1]),
        Changed(old[2], new[2], (Change("body/x", 1, 2),)),
    ]


@pytest.mark.parametrize(("old", "new"), [(True, 1), (0, False), (None, {}), ([], {}), ("1", 1), ([1], [1, None])])
def test_values_that_python_or_a_reader_may_confuse_differ(old, new):
    assert len(differences([contact(x=old)], [contact(x=new)])) == 1


def test_the_order_of_a_bodys_fields_does_not_count():
    assert differences([contact(x=1, y=2)], [contact(y=2, x=1)]) == []


def test_query_and_tenant_are_part_of_a_call():
    old, new = Call("PUT /c", "l1", {"a": 1}, None), Call("PUT /c", "l2", {}, None)

    assert [change.path for change in changes(old, new)] == ["tenant", "query/a"]
