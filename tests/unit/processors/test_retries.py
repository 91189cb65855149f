"""What follows a failure: waiting uses up no attempt, permanent ends at once, the rest backs off and ends some time."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from levelgate import Overrides
from processors.retries import Die, Park, Policy, default_policy, judge, policy_of
from schemas.errors import (
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    InstallationMissing,
    Permanent,
    RateLimited,
    Retry,
    Waiting,
    WrongShape,
)
from schemas.settings import Worker

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy(max_attempts=4, backoff_s=2.0, max_backoff_s=60.0, waiting_retry_s=30.0)


def verdict(error, *, attempts=0, policy=POLICY, received_at=NOW, now=NOW):
    return judge(error, attempts=attempts, received_at=received_at, policy=policy, now=now, rng=random.Random(1))


@pytest.mark.parametrize(
    ("error", "reason"), [(RateLimited("429"), "waiting"), (InstallationMissing("none"), "disconnected")]
)
@pytest.mark.parametrize("attempts", [0, 3, 1000])
def test_waiting_uses_up_no_attempt(error, reason, attempts):
    parked = verdict(error, attempts=attempts)

    assert isinstance(parked, Park)
    assert parked.attempts == attempts
    assert parked.reason == reason
    assert parked.due_at > NOW


@pytest.mark.parametrize(
    "error",
    [Permanent("no"), ApiRejected("no", status=422), ApiNotFound("gone"), WrongShape("bad", reason="wrong_shape")],
)
def test_what_no_retry_can_help_is_given_up_at_once(error):
    assert verdict(error) == Die(1, "permanent")


@pytest.mark.parametrize("error", [ValueError("bug"), Retry(), ApiUnavailable("down"), TimeoutError()])
def test_a_failure_is_tried_again_until_its_attempts_are_used_up(error):
    assert isinstance(verdict(error, attempts=2), Park)
    assert verdict(error, attempts=3) == Die(4, "attempts")


def test_a_retry_that_names_its_time_waits_at_least_that_long():
    parked = verdict(Retry(after=timedelta(minutes=5)))

    assert isinstance(parked, Park)
    assert parked.due_at >= NOW + timedelta(minutes=5)


@given(attempts=st.integers(min_value=0, max_value=10**9), seed=st.integers())
def test_backoff_grows_to_its_cap_and_never_beyond(attempts, seed):
    policy = Policy(max_attempts=10**10, backoff_s=2.0, max_backoff_s=60.0, waiting_retry_s=30.0)

    parked = judge(ValueError(), attempts=attempts, received_at=NOW, policy=policy, now=NOW, rng=random.Random(seed))

    assert isinstance(parked, Park)
    span = min(60.0, 2.0 * 2 ** min(attempts, 30))
    assert timedelta(seconds=span / 2) <= parked.due_at - NOW <= timedelta(seconds=span)


@pytest.mark.parametrize("error", [ValueError(), RateLimited("429"), RateLimited("429", after=timedelta(seconds=9))])
def test_pairs_that_fail_together_come_back_apart(error):
    rng = random.Random(1)
    tenths = set()
    for _ in range(1000):
        parked = judge(error, attempts=0, received_at=NOW, policy=POLICY, now=NOW, rng=rng)
        assert isinstance(parked, Park)
        tenths.add(parked.due_at.microsecond // 100_000)

    assert tenths == set(range(10)), "their waits are spread over a second here"


WITH_DEADLINE = msgspec.structs.replace(POLICY, deadline_s=600.0)
FAILURES = [ValueError("bug"), Retry(), RateLimited("429"), InstallationMissing("none")]


@pytest.mark.parametrize("error", FAILURES)
def test_a_failure_at_or_after_the_deadline_is_the_last_even_if_it_only_waits(error):
    at_deadline = NOW + timedelta(minutes=10)
    used = 0 if isinstance(error, Waiting) else 1

    assert verdict(error, policy=WITH_DEADLINE, now=at_deadline) == Die(used, "deadline")
    assert isinstance(verdict(error, policy=WITH_DEADLINE, now=at_deadline - timedelta(seconds=1)), Park)


@pytest.mark.parametrize("error", FAILURES)
def test_a_wait_is_shortened_to_the_deadline_so_that_the_last_run_is_not_lost(error):
    parked = verdict(error, policy=WITH_DEADLINE, now=NOW + timedelta(seconds=599.5))

    assert isinstance(parked, Park)
    assert parked.due_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("error", [Retry(after=timedelta(minutes=11)), RateLimited("429", after=timedelta(minutes=11))])
def test_what_may_not_run_before_its_deadline_is_over_ends_at_once(error):
    assert isinstance(verdict(error, policy=WITH_DEADLINE), Die)


def test_what_a_handler_says_goes_before_the_settings_and_the_rest_is_theirs():
    defaults = default_policy(Worker())
    said = Overrides(attempts=3, backoff=timedelta(seconds=1), deadline=timedelta(hours=1), ordering="relaxed")

    assert policy_of(Overrides(), defaults) == defaults
    assert policy_of(said, defaults) == msgspec.structs.replace(
        defaults, max_attempts=3, backoff_s=1.0, deadline_s=3600.0, ordering="relaxed"
    )
    assert policy_of(Overrides(coalesce=True), defaults) == msgspec.structs.replace(defaults, coalesce=True)
    capped = policy_of(Overrides(max_backoff=timedelta(minutes=1), timeout=timedelta(seconds=5)), defaults)
    assert (capped.max_backoff_s, capped.timeout_s) == (60.0, 5.0)


def test_a_backoff_beyond_the_default_cap_is_not_cut_by_it():
    policy = policy_of(Overrides(backoff=timedelta(days=1)), POLICY)

    assert (policy.backoff_s, policy.max_backoff_s) == (86400.0, 86400.0)


class AnyPairsWay(RuleBasedStateMachine):
    """A pair fails in any way at any time, until it is dead; beside it, what it may count on, in a few lines."""

    @initialize(
        attempts=st.integers(1, 5),
        backoff_s=st.floats(0.01, 100),
        deadline_s=st.none() | st.floats(0.01, 1000),
        seed=st.integers(),
    )
    def receive(self, attempts, backoff_s, deadline_s, seed):
        self.policy = Policy(attempts, backoff_s, 1000.0, 30.0, deadline_s=deadline_s)
        self.rng = random.Random(seed)
        self.ends_at = NOW + timedelta(seconds=deadline_s) if deadline_s else datetime.max.replace(tzinfo=UTC)
        self.now = NOW
        self.verdict = None
        self.used = self.failed = 0

    @precondition(lambda self: not isinstance(self.verdict, Die))
    @rule(
        kind=st.sampled_from([None, Retry, RateLimited, Permanent]),
        after=st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(hours=1)),
        late_s=st.floats(0, 60),
    )
    def fail(self, kind, after, late_s):
        # A run starts when the pair is due or later, and takes a while.
        self.now += timedelta(seconds=late_s)
        error = ValueError() if kind is None else Permanent() if kind is Permanent else kind("no", after=after)
        self.failed += not isinstance(error, Waiting)
        self.verdict = judge(error, attempts=self.used, received_at=NOW, policy=self.policy, now=self.now, rng=self.rng)
        self.used = self.verdict.attempts
        if isinstance(self.verdict, Die):
            assert (kind is Permanent) == (self.verdict.reason == "permanent")
            assert self.verdict.reason != "attempts" or self.failed == self.policy.max_attempts
            least = getattr(error, "after", None) or timedelta()
            assert self.verdict.reason != "deadline" or self.now + least >= self.ends_at
        else:
            assert kind is not Permanent
            assert self.now < self.verdict.due_at <= self.ends_at
            assert self.verdict.due_at - self.now >= (getattr(error, "after", None) or timedelta())
            self.now = self.verdict.due_at

    @precondition(lambda self: isinstance(self.verdict, Die))
    @rule()
    def redrive(self):
        self.verdict = None
        self.used = self.failed = 0

    @invariant()
    def only_what_failed_was_counted(self):
        if self.verdict is not None:
            assert self.used == self.failed <= self.policy.max_attempts


TestAnyPairsWay = AnyPairsWay.TestCase
