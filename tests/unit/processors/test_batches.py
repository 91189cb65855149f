"""How much of what waits for the ledger one flush takes."""

from collections import deque
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.ledger_rows import MOST_BYTES, MOST_ENTRIES, IndexEntry, PairEntry, take_batch
from processors.pairs import Dead, Done, History
from schemas.settings import Kafka
from tests.support.deliveries import delivery

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = delivery(Kafka())
LARGE = msgspec.structs.replace(SMALL, body=bytes(MOST_BYTES // 3))


def never(ours):
    raise AssertionError("nothing is written here")


def entry(kind):
    if kind == "index":
        return IndexEntry(1, SMALL, (), 1, never)
    record, outcome = (LARGE, Dead) if kind == "dead" else (SMALL, Done)
    return PairEntry(1, record, record.pair("greet", 0), outcome(NOW, History()), was_parked=False, recorded=never)


runs = st.tuples(st.sampled_from(["index", "done", "dead"]), st.sampled_from([1, 2, 7, MOST_ENTRIES - 1, MOST_ENTRIES]))


@given(st.lists(runs, min_size=1, max_size=6))
def test_batches_have_all_in_order_and_are_small_but_for_what_one_run_did(wanted):
    entries = [entry(kind) for kind, count in wanted for _ in range(min(count, 7) if kind == "dead" else count)]
    buffer = deque(entries)
    batches = []
    while buffer:
        batches.append(take_batch(buffer))

    assert [each for batch in batches for each in batch] == entries
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        is_over = len(batch) > MOST_ENTRIES
        kinds = {type(getattr(each, "outcome", None)) for each in batch[MOST_ENTRIES - 1 :]}
        assert not is_over or kinds == {Done}
        assert sum(isinstance(getattr(each, "outcome", None), Dead) for each in batch) <= 3
        if after is not None:
            last, first = batch[-1], after[0]
            assert {type(getattr(last, "outcome", None)), type(getattr(first, "outcome", None))} != {Done}
