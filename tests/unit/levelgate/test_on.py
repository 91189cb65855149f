"""What `@on` takes and refuses, at the line where it stands."""

from datetime import timedelta

import pytest

from levelgate import MARK, on
from levelgate.events import ContactCreate, ContactUpdate
from processors.registry import handler_of
from schemas.errors import Misconfigured

MINUTE = timedelta(minutes=1)


async def greet(event, ctx):
    pass


def handler(*marks):
    async def fresh(event, ctx):
        pass

    for mark in marks:
        mark(fresh)
    return handler_of(fresh, built_in=False)


def test_what_is_said_of_the_policy_reaches_the_handler():
    said = handler(
        on(ContactCreate, attempts=3, backoff=MINUTE, max_backoff=2 * MINUTE, deadline=3 * MINUTE, timeout=4 * MINUTE)
    ).overrides

    assert (said.attempts, said.backoff, said.max_backoff) == (3, MINUTE, 2 * MINUTE)
    assert (said.deadline, said.timeout, said.ordering) == (3 * MINUTE, 4 * MINUTE, "strict")
    assert handler(on(ContactCreate, ordering="relaxed")).overrides.ordering == "relaxed"
    assert not said.coalesce
    assert handler(on(ContactCreate, coalesce=True)).overrides.coalesce


@pytest.mark.parametrize(
    ("policy", "error", "names"),
    [
        ({"attempts": 0}, ValueError, "attempts"),
        ({"attempts": 1.5}, TypeError, "attempts"),
        ({"attempts": True}, TypeError, "attempts"),
        ({"backoff": 5}, TypeError, "backoff is a timedelta"),
        ({"backoff": timedelta(0)}, ValueError, "backoff"),
        ({"max_backoff": -MINUTE}, ValueError, "max_backoff"),
        ({"backoff": 2 * MINUTE, "max_backoff": MINUTE}, ValueError, "longer than max_backoff"),
        ({"deadline": "1h"}, TypeError, "deadline"),
        ({"timeout": 0.5}, TypeError, "timeout"),
        ({"ordering": "loose"}, ValueError, '"strict" or "relaxed"'),
        ({"ordering": None}, ValueError, "ordering"),
        ({"coalesce": 1}, TypeError, "coalesce is True or False"),
        ({"coalesce": True, "ordering": "relaxed"}, ValueError, "coalesce needs ordering"),
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_meant_is_refused_where_it_is_declared(policy, error, names):
    with pytest.raises(error, match=f"^@on: .*{names}"):
        on(ContactCreate, **policy)


@pytest.mark.parametrize("types", [(), (greet,), (int,)], ids=["nothing", "a function", "a type"])
def test_what_is_no_event_type_is_refused(types):
    with pytest.raises(TypeError, match="@on"):
        on(*types)


def test_two_marks_make_one_handler_of_both_types_with_the_policy_that_one_of_them_names():
    both = handler(on(ContactCreate), on(ContactUpdate, attempts=2))

    assert both.types == ("ContactCreate", "ContactUpdate")
    assert both.overrides.attempts == 2


def test_two_policies_for_one_handler_are_refused():
    with pytest.raises(Misconfigured, match="two policies"):
        handler(on(ContactCreate, attempts=1), on(ContactUpdate, attempts=2))


def test_marking_leaves_the_function_as_it_is():
    async def plain(event, ctx):
        pass

    assert on(ContactCreate)(plain) is plain
    assert hasattr(plain, MARK)
