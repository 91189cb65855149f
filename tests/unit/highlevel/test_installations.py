"""What to do for a token, over every shape that a row can have."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.installations import Installation, Step, next_step
from schemas.ids import AppName, CompanyId, TenantId

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SOON, PAST, LATER = NOW + timedelta(seconds=30), NOW - timedelta(seconds=1), NOW + timedelta(hours=3)

times = st.sampled_from([None, PAST, NOW, SOON, LATER])
rows = st.builds(
    Installation,
    app=st.just("demo"),
    tenant=st.just("loc"),
    level=st.sampled_from(["location", "company"]),
    company=st.sampled_from([None, "comp", "loc"]),
    state=st.sampled_from(["pending", "active", "inactive", "broken", "gone"]),
    access_token=st.sampled_from([None, b"access"]),
    refresh_token=st.sampled_from([None, b"refresh"]),
    expires_at=times,
    scopes=st.just(()),
    version=st.just(1),
    lease_until=times,
    retry_at=times,
    installed_at=st.just(PAST),
    updated_at=st.just(PAST),
    now=st.just(NOW),
)


def row(**fields) -> Installation:
    live = Installation(
        app=AppName("demo"),
        tenant=TenantId("loc"),
        level="location",
        company=CompanyId("comp"),
        state="active",
        access_token=b"access",
        refresh_token=b"refresh",
        expires_at=LATER,
        scopes=(),
        version=1,
        lease_until=None,
        retry_at=None,
        installed_at=PAST,
        updated_at=PAST,
        now=NOW,
    )
    return msgspec.structs.replace(live, **fields)


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({}, Step.USE),
        ({"expires_at": SOON}, Step.REFRESH),
        ({"expires_at": PAST}, Step.REFRESH),
        ({"expires_at": PAST, "lease_until": SOON}, Step.WAIT),
        ({"expires_at": PAST, "lease_until": PAST}, Step.REFRESH),
        ({"expires_at": PAST, "retry_at": SOON}, Step.LATER),
        ({"lease_until": SOON, "retry_at": SOON}, Step.USE),
        ({"state": "inactive", "access_token": None}, Step.REFRESH),
        ({"state": "broken"}, Step.EXCHANGE),
        ({"state": "broken", "company": None}, Step.NOTHING),
        ({"state": "broken", "level": "company", "tenant": "comp"}, Step.NOTHING),
        ({"state": "pending", "access_token": None, "refresh_token": None}, Step.EXCHANGE),
        ({"state": "active", "refresh_token": None, "expires_at": PAST}, Step.EXCHANGE),
        ({"state": "gone"}, Step.NOTHING),
    ],
)
def test_a_row_leads_to_its_step(fields, step):
    assert next_step(row(**fields)) is step


def test_a_location_with_its_companys_id_is_never_exchanged_for_itself():
    assert next_step(row(state="pending", refresh_token=None, company="loc")) is Step.NOTHING


@given(rows)
def test_a_token_is_used_only_while_it_is_good_and_the_app_installed(row):
    if next_step(row) is Step.USE:
        assert row.state == "active"
        assert row.access_token is not None
        assert row.expires_at - row.now > timedelta(seconds=60)


@given(rows)
def test_the_vendor_is_asked_only_with_something_to_ask_with_and_by_nobody_else(row):
    step = next_step(row)
    if step in {Step.REFRESH, Step.EXCHANGE}:
        assert row.lease_until is None or row.lease_until <= row.now
        assert row.retry_at is None or row.retry_at <= row.now
        assert row.state != "gone"
    if step is Step.REFRESH:
        assert row.refresh_token is not None
        assert row.state != "broken"
    if step is Step.EXCHANGE:
        assert row.level == "location"
        assert row.company not in {None, row.tenant}
