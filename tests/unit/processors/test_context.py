"""The key that a handler gets, for whoever must not be told twice."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from processors.context import idempotency_key
from processors.pairs import Pair

texts = st.sampled_from(["a", "aa", "b"])
pairs = st.builds(Pair, texts, texts, texts, texts, texts, st.integers(0, 1))


@given(pairs, pairs, st.sets(st.sampled_from(Pair.__struct_fields__), min_size=1, max_size=1))
@example(Pair("a", "aa", "a", "a", "a", 0), Pair("aa", "a", "a", "a", "a", 0), {"app", "tenant"})
def test_pairs_have_the_same_idempotency_key_only_if_they_are_the_same(pair, another, changed):
    other = msgspec.structs.replace(pair, **{field: getattr(another, field) for field in changed})

    assert (idempotency_key(pair) == idempotency_key(other)) == (pair == other)


def test_an_idempotency_key_outlives_restarts_and_releases():
    pair = Pair("demo", "location-1", "delivery-1", "live", "my_app.handlers.greet", 0)

    assert idempotency_key(pair) == "7dfe8b3113c9c8d19991aea972b2ec75"
