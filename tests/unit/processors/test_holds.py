from datetime import UTC, datetime, timedelta

from processors.holds import Holds

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
A, B = ("demo", "location-a"), ("demo", "location-b")


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def test_a_tenant_is_held_until_the_latest_time_that_was_named():
    holds = Holds()
    holds.hold(A, is_replay=False, until=after(10))
    holds.hold(A, is_replay=False, until=after(5))
    holds.hold(B, is_replay=False, until=after(1))

    assert holds.tenants(NOW) == {A, B}
    assert holds.tenants(after(1)) == {A}
    assert holds.tenants(after(10)) == set()


def test_a_tenants_replays_wait_alone():
    holds = Holds()
    holds.hold(A, is_replay=True, until=after(10))

    assert (holds.tenants(NOW), holds.replays(NOW)) == (set(), {A})
    assert holds.replays(after(10)) == set()
