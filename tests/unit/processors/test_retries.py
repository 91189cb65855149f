"""What follows a failure: waiting uses up no attempt, permanent ends at once, the rest backs off and ends some time."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.retries import Die, Park, Policy, judge
from schemas.errors import (
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    InstallationMissing,
    Permanent,
    RateLimited,
    Retry,
    WrongShape,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy(max_attempts=4, backoff_s=2.0, max_backoff_s=60.0, waiting_retry_s=30.0)


def verdict(error, *, attempts=0, policy=POLICY):
    return judge(error, attempts=attempts, policy=policy, now=NOW, rng=random.Random(1))


@pytest.mark.parametrize("error", [RateLimited("429"), InstallationMissing("none")])
@pytest.mark.parametrize("attempts", [0, 3, 1000])
def test_waiting_uses_up_no_attempt(error, attempts):
    parked = verdict(error, attempts=attempts)

    assert isinstance(parked, Park)
    assert parked.attempts == attempts
    assert parked.reason == "waiting"
    assert parked.due_at > NOW


@pytest.mark.parametrize(
    "error",
    [Permanent("no"), ApiRejected("no", status=422), ApiNotFound("gone"), WrongShape("bad", reason="wrong_shape")],
)
def test_what_no_retry_can_help_is_given_up_at_once(error):
    assert verdict(error) == Die(1)


@pytest.mark.parametrize("error", [ValueError("bug"), Retry(), ApiUnavailable("down"), TimeoutError()])
def test_a_failure_is_tried_again_until_its_attempts_are_used_up(error):
    assert isinstance(verdict(error, attempts=2), Park)
    assert verdict(error, attempts=3) == Die(4)


def test_a_retry_that_names_its_time_waits_at_least_that_long():
    parked = verdict(Retry(after=timedelta(minutes=5)))

    assert isinstance(parked, Park)
    assert parked.due_at >= NOW + timedelta(minutes=5)


@given(attempts=st.integers(min_value=0, max_value=10**9), seed=st.integers())
def test_backoff_grows_to_its_cap_and_never_beyond(attempts, seed):
    policy = Policy(max_attempts=10**10, backoff_s=2.0, max_backoff_s=60.0, waiting_retry_s=30.0)

    parked = judge(ValueError(), attempts=attempts, policy=policy, now=NOW, rng=random.Random(seed))

    assert isinstance(parked, Park)
    span = min(60.0, 2.0 * 2 ** min(attempts, 30))
    assert timedelta(seconds=span / 2) <= parked.due_at - NOW <= timedelta(seconds=span)
