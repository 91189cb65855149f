"""What becomes of a record that no receiver can have written."""

from types import SimpleNamespace

import pytest

from processors.records import is_broken, read


@pytest.mark.parametrize("timestamp", [-1, 2**62, -(2**62)])
def test_a_stranger_with_any_time_is_a_delivery_that_says_so(timestamp):
    record = read(SimpleNamespace(topic="t", partition=0, offset=7, timestamp=timestamp, value=None, headers=()))
    assert is_broken(record)
    assert record.envelope.id == "t-0-7"
    assert record.envelope.received_at.tzinfo
