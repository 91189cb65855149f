"""A delivery is finished once, when its last part is recorded, and is ours only where each part was."""

from hypothesis import given
from hypothesis import strategies as st

from processors.pending import Pending


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_last_part_finishes_it_and_one_that_was_fenced_off_is_enough(parts):
    told: list[bool] = []
    pending = Pending(len(parts), told.append)
    for number, ours in enumerate(parts):
        assert told == [], f"finished after {number} of {len(parts)}"
        pending.recorded(ours)

    assert told == [all(parts)]
