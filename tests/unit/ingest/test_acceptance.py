import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.acceptance import UNNAMED, Acceptance
from ingest.answers import Outcome
from schemas.envelope import NO_TENANT, from_headers, to_headers
from schemas.errors import BadSignature, ForeignApp
from schemas.ids import AppName
from schemas.samples import samples
from schemas.settings import App, Kafka
from schemas.topics import Topics
from tests.support.keys import ed25519_public_pem, rsa_public_pem
from tests.support.webhooks import LOCATION, encoded, signed, webhook

NOW = datetime.now(UTC)
TOPICS = Topics(Kafka())


@pytest.fixture
def judge():
    return make_judge()


def make_judge(**changes):
    app = App(
        client_id="66f0c1d2e3a4b5968778695a-demo",
        client_secret="x",
        ed25519_keys=(ed25519_public_pem(),),
        rsa_keys=(rsa_public_pem(),),
        **changes,
    )
    acceptance = Acceptance(AppName("demo"), app, TOPICS, stale_after=timedelta(days=35))

    def judge(body, scheme="ed25519", *, provider=False, **more):
        raw = encoded(body)
        if provider:
            return acceptance.judge_provider_message(raw, now=NOW)
        return acceptance.judge(raw, signed(raw, scheme), now=NOW, **more)

    return judge


def reason_of(verdict):
    assert verdict.outcome is Outcome.QUARANTINED
    assert verdict.topic == TOPICS.quarantine
    return verdict.envelope.reason


def test_a_known_event_goes_to_the_topic_of_its_family(judge):
    verdict = judge(webhook("ContactCreate", id="c1", webhookId="w1"))
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.topic == "highlevel.events.contact"
    envelope = verdict.envelope
    assert (envelope.id, envelope.type, envelope.app, envelope.tenant) == ("w1", "ContactCreate", "demo", LOCATION)
    assert (envelope.entity, envelope.type_source, envelope.signature) == ("c1", "body", "ed25519")
    assert envelope.received_at == NOW


def test_the_envelope_survives_its_headers(judge):
    envelope = judge(webhook(), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01").envelope
    assert from_headers(to_headers(envelope)) == envelope


@pytest.mark.parametrize("scheme", ["none", "wrong", "N/A"])
def test_what_is_not_signed_is_refused(judge, scheme):
    with pytest.raises(BadSignature):
        judge(webhook(), scheme)


def test_rsa_counts_only_while_it_is_switched_on(judge):
    with pytest.raises(BadSignature):
        judge(webhook(), "rsa")
    assert make_judge(rsa_until=NOW.date())(webhook(), "rsa").envelope.signature == "rsa"
    with pytest.raises(BadSignature):
        make_judge(rsa_until=NOW.date() - timedelta(days=1))(webhook(), "rsa")


def test_the_signature_is_over_the_bytes_as_they_came(judge):
    spaced = json.dumps(webhook(), indent=4).encode()
    assert judge(spaced).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("app_id", ["66f0c1d2e3a4b5968778695b", "66f0c1d2e3a4b5968778695a-demo", 5, ["x"]])
def test_another_apps_webhook_is_refused_though_it_is_signed(judge, app_id):
    with pytest.raises(ForeignApp):
        judge(webhook(appId=app_id))


def test_another_apps_id_is_found_in_any_element_of_a_list(judge):
    with pytest.raises(ForeignApp):
        judge([webhook("SaasPlanCreate", companyId="c"), webhook("SaasPlanCreate", appId="another")])


@pytest.mark.parametrize("app_id", [..., ""])
def test_a_body_without_app_id_is_accepted(judge, app_id):
    assert judge(webhook(appId=app_id)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("webhook_id", [..., None, "", 7, "x" * 201, "a\nb", "a\x00b", " "])
def test_without_a_usable_webhook_id_the_body_is_its_own_identity(judge, webhook_id):
    body = webhook(webhookId=webhook_id)
    first, again = judge(body).envelope, judge(body).envelope
    assert first.id.startswith("sha256:")
    assert first.id == again.id
    assert judge({**body, "more": 1}).envelope.id != first.id


def test_a_webhook_id_of_200_characters_is_kept(judge):
    assert judge(webhook(webhookId="x" * 200)).envelope.id == "x" * 200


def test_an_alias_is_its_event(judge):
    assert judge(webhook("AppInstall", id=...)).envelope.type == "INSTALL"


def test_the_name_is_taken_in_exactly_its_case(judge):
    verdict = judge(webhook("contactcreate"))
    assert (verdict.topic, verdict.envelope.type) == ("highlevel.events.unknown", "contactcreate")


@pytest.mark.parametrize(
    ("in_body", "in_path", "counts", "source"),
    [
        ("ContactCreate", None, "ContactCreate", "body"),
        ("ContactCreate", "ContactCreate", "ContactCreate", "body"),
        (..., "ContactCreate", "ContactCreate", "path"),
        (5, "ContactCreate", "ContactCreate", "path"),
        ("one_time", "PriceUpdate", "PriceUpdate", "path"),
        ("AppointmentCreate", "AppointmentDelete", "AppointmentDelete", "path"),
        ("AppointmentCreate", "ContactCreate", "AppointmentCreate", "body"),
        ("ContactCreate", "NeverHeardOf", "ContactCreate", "body"),
        ("NeverHeardOf", "NorOfThis", "NeverHeardOf", "body"),
        (..., "NeverHeardOf", "NeverHeardOf", "path"),
        ("x" * 500, "ContactCreate", "ContactCreate", "path"),
    ],
)
def test_the_path_counts_where_the_body_names_nothing_or_a_sibling(judge, in_body, in_path, counts, source):
    envelope = judge(webhook(in_body, appointment={"id": "a1"}), event=in_path).envelope
    assert (envelope.type, envelope.type_source) == (counts, source)


def test_an_unknown_type_goes_to_the_unknown_family(judge):
    verdict = judge(webhook("BrandNewEvent"))
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.topic == "highlevel.events.unknown"


@pytest.mark.parametrize("name", [..., None, 5, "", " ", "Contact\nCreate", "\x1b[31m", "x" * 201, {"a": 1}])
def test_without_a_usable_name_a_webhook_is_quarantined(judge, name):
    verdict = judge(webhook(name))
    assert reason_of(verdict) == "no_type"
    assert verdict.envelope.type == UNNAMED
    assert verdict.envelope.tenant == LOCATION


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1,", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe", b'"\\ud800"']
)
def test_what_is_not_strict_json_is_quarantined(judge, raw):
    verdict = judge(raw)
    assert reason_of(verdict) == "not_json"
    assert verdict.envelope.tenant == NO_TENANT


@pytest.mark.parametrize("raw", [b"5", b"null", b"true", b'"text"', b"-1e400"])
def test_a_bare_value_is_quarantined(judge, raw):
    assert reason_of(judge(raw)) in {"not_an_object", "not_json"}


@pytest.mark.parametrize(
    "body", [[], [[]], [1], [None], [webhook("SaasPlanCreate", companyId="c"), 5], [{}], [webhook()]]
)
def test_a_list_that_is_no_delivery_is_quarantined(judge, body):
    assert reason_of(judge(body)) == "wrong_list"


def saas_plan(**fields):
    return webhook("SaasPlanCreate", **{"locationId": ..., "id": ..., "companyId": "company1", **fields})


def test_a_list_of_one_tenant_and_type_is_one_delivery_under_its_first_id(judge):
    verdict = judge([saas_plan(webhookId="w1"), saas_plan(webhookId="w2")])
    assert verdict.outcome is Outcome.ACCEPTED
    assert (verdict.envelope.id, verdict.envelope.type, verdict.envelope.tenant) == ("w1", "SaasPlanCreate", "company1")


def test_a_list_of_two_tenants_is_quarantined(judge):
    assert reason_of(judge([saas_plan(), saas_plan(companyId="company2")])) == "wrong_list"


def test_a_list_of_two_types_is_quarantined(judge):
    assert reason_of(judge([saas_plan(), saas_plan(type="INSTALL")])) == "wrong_list"


@pytest.mark.parametrize("location", [..., None, "", 5, "-", "a\nb", "x" * 201])
def test_without_a_tenant_a_webhook_is_quarantined(judge, location):
    verdict = judge(webhook(locationId=location))
    assert reason_of(verdict) in {"no_tenant", "wrong_shape"}
    assert verdict.envelope.tenant == NO_TENANT


def test_a_company_is_the_tenant_where_there_is_no_location(judge):
    assert judge(webhook("INSTALL", locationId=..., id=..., companyId="company1")).envelope.tenant == "company1"


@pytest.mark.parametrize("days", [36, 400, 200_000])
def test_what_is_older_than_the_ledger_remembers_is_quarantined(judge, days):
    at = NOW - timedelta(days=days)
    assert reason_of(judge(webhook(timestamp=at.isoformat()))) == "stale"


def test_an_old_element_makes_the_whole_list_stale(judge):
    old = (NOW - timedelta(days=36)).isoformat()
    assert reason_of(judge([saas_plan(), saas_plan(timestamp=old)])) == "stale"


@pytest.mark.parametrize("spelling", ["%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])
def test_a_timestamp_within_the_ledgers_memory_is_accepted(judge, spelling):
    at = (NOW - timedelta(days=33)).strftime(spelling)
    verdict = judge(webhook(timestamp=at))
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.envelope.time == at


@pytest.mark.parametrize("timestamp", ["soon", "", "0000-00-00T00:00:00Z"])
def test_a_timestamp_that_says_nothing_is_no_reason_to_refuse(judge, timestamp):
    assert judge(webhook(timestamp=timestamp)).outcome is Outcome.ACCEPTED


def test_an_event_of_the_wrong_shape_is_quarantined(judge):
    verdict = judge(webhook("ContactCreate", tags="not a list"))
    assert reason_of(verdict) == "wrong_shape"
    assert verdict.envelope.type == "ContactCreate"


def test_unknown_fields_are_no_fault(judge):
    assert judge(webhook(inventedYesterday={"deep": [1, 2, {}]})).outcome is Outcome.ACCEPTED


def test_a_provider_message_needs_no_signature_and_is_named_by_its_route(judge):
    verdict = judge({"type": "SMS", "locationId": LOCATION, "messageId": "m1", "contactId": "c1"}, provider=True)
    assert verdict.outcome is Outcome.ACCEPTED
    assert (verdict.envelope.type, verdict.envelope.type_source) == ("ProviderOutboundMessage", "path")
    assert verdict.envelope.signature == "none"


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_every_documented_body_is_accepted_as_its_event(judge, sample):
    def fresh(body):
        return {**body, "appId": "66f0c1d2e3a4b5968778695a", "webhookId": "w", "timestamp": NOW.isoformat()}

    body = [fresh(element) for element in sample.body] if isinstance(sample.body, list) else fresh(sample.body)
    verdict = judge(body, provider=sample.provider, event=sample.type if sample.in_path else None)
    assert (verdict.outcome, verdict.envelope.reason) == (Outcome.ACCEPTED, None)
    assert verdict.envelope.type == sample.type


def assert_is_bounded(verdict):
    headers = to_headers(verdict.envelope)
    assert sum(len(value) for _, value in headers) < 16 * 1024
    assert from_headers(headers) == verdict.envelope
    assert (verdict.envelope.reason is None) == (verdict.outcome is Outcome.ACCEPTED)


@given(st.binary(max_size=2000))
def test_any_signed_bytes_get_a_verdict(raw):
    assert_is_bounded(make_judge()(raw))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=15,
)
names = st.sampled_from(
    ["type", "locationId", "companyId", "altId", "altType", "id", "webhookId", "timestamp", "tags", "appointment"]
)
types = st.sampled_from(["ContactCreate", "INSTALL", "SaasPlanCreate", "AppointmentCreate", "InvoicePaid", "Invented"])
bodies = st.dictionaries(names, json_values | types | st.sampled_from(["location", LOCATION]), max_size=8)


@given(body=json_values | bodies | st.lists(bodies), event=st.none() | st.text() | types)
def test_any_signed_json_gets_a_verdict(body, event):
    try:
        verdict = make_judge()(json.dumps(body).encode(), event=event)
    except ForeignApp:
        return
    assert_is_bounded(verdict)


@given(st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()) | st.text(alphabet="0123456789-:TZ+."))
def test_any_timestamp_gets_a_verdict(timestamp):
    assert_is_bounded(make_judge()(webhook(timestamp=timestamp)))
