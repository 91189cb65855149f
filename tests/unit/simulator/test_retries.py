from hypothesis import given
from hypothesis import strategies as st

from levelgate.simulator import retries


@given(st.floats(min_value=0, max_value=1))
def test_there_are_twelve_more_tries_each_later_than_the_last(chance):
    *more, last = [retries.delay_s(tries, chance=chance, speedup=1) for tries in range(1, 14)]
    delays = [delay for delay in more if delay is not None]
    assert last is None
    assert len(delays) == 12
    assert delays == sorted(delays)


def test_they_span_about_three_days_and_the_speed_up_shortens_them():
    whole = sum(retries.delay_s(tries, chance=0.5, speedup=1) or 0 for tries in range(1, 13))
    assert 2.5 < whole / 86_400 < 3.1
    assert retries.delay_s(1, chance=0.5, speedup=60) == 1
