"""A replay's states against a model of what a person may expect of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.replays.states import STATES, STEPS, NotNow, State, after, shown, sources


@given(st.lists(st.sampled_from(STEPS)))
def test_whatever_is_asked_a_cancelled_replay_stays_so_and_a_finished_one_never_goes_on(steps):
    state: State = "running"
    taken: list[str] = []
    for step in steps:
        try:
            following = after(state, step)
        except NotNow:
            # Refused, and as it was: nothing but a cancelled replay refuses to be cancelled.
            assert step != "cancel" or "cancel" in taken
            continue
        assert "cancel" not in taken
        assert "finish" not in taken or step == "cancel"
        # Nothing is published while it is paused: it can't get to its end.
        assert (state, step) != ("paused", "finish")
        taken.append(step)
        assert (following == "cancelled") == (step == "cancel")
        state = following


@given(st.sampled_from(STATES), st.sampled_from(STEPS))
def test_the_states_in_which_a_step_is_possible_are_those_that_take_it(state, step):
    if state in sources(step):
        assert after(state, step) in STATES
    else:
        with pytest.raises(NotNow, match=state):
            after(state, step)


def test_only_what_runs_without_a_publisher_is_interrupted():
    assert shown("running", has_publisher=False) == "interrupted"
    for state in STATES:
        assert shown(state, has_publisher=True) == state
        assert state == "running" or shown(state, has_publisher=False) == state
