import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import CATALOGUE, FAMILIES, PROVIDER_MESSAGE, company_of, entity_of, lookup, tenant_of
from schemas.samples import samples

LOCATION = "ve9EPM428h8vShlRW1KT"
COMPANY = "otg8dTQqGLh3Q6iQI55w"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_every_documented_type_is_there_once():
    assert len(CATALOGUE) == 77
    assert len(FAMILIES) == 24
    assert list(FAMILIES) == sorted({each.family for each in CATALOGUE.values()})


def test_an_alias_and_the_wire_name_are_the_same_event():
    assert lookup("AppInstall") is lookup("INSTALL")
    assert lookup("SaaSPlanCreate") is lookup("SaasPlanCreate")
    assert lookup("DeleteRecord") is lookup("RecordDelete")


@pytest.mark.parametrize("name", ["contactcreate", "CONTACTCREATE", "ContactCreate ", "", "None", "one_time"])
def test_a_name_in_another_case_or_of_nothing_is_unknown(name):
    assert lookup(name) is None


def test_no_alias_is_the_wire_name_or_an_alias_of_another_type():
    names = [name for each in CATALOGUE.values() for name in (each.wire, *each.aliases)]
    assert len(names) == len(set(names))


def test_only_the_provider_message_goes_to_the_providers_url():
    assert [each.wire for each in CATALOGUE.values() if each.provider] == [PROVIDER_MESSAGE]


def test_only_a_saas_plan_may_come_as_a_list():
    assert [each.wire for each in CATALOGUE.values() if each.list_body] == ["SaasPlanCreate"]


def test_the_end_of_a_voice_call_is_confidential():
    assert [each.wire for each in CATALOGUE.values() if each.confidential] == ["VoiceAiCallEnd"]


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_every_documented_body_names_its_tenant_and_its_entity(sample):
    elements = sample.body if isinstance(sample.body, list) else [sample.body]
    event_type = CATALOGUE[sample.type]
    assert {tenant_of(event_type, element) for element in elements} != {None}
    assert all(entity_of(event_type, element) for element in elements)


def test_the_location_counts_before_the_company():
    body = {"locationId": LOCATION, "companyId": COMPANY}
    assert tenant_of(CATALOGUE["INSTALL"], body) == LOCATION
    assert company_of(CATALOGUE["INSTALL"], body) == COMPANY


def test_without_a_location_the_company_is_the_tenant():
    assert tenant_of(CATALOGUE["UNINSTALL"], {"companyId": COMPANY}) == COMPANY
    assert tenant_of(CATALOGUE["SaasPlanCreate"], {"companyId": COMPANY}) == COMPANY


def test_a_new_location_is_its_own_tenant():
    body = {"id": LOCATION, "companyId": COMPANY}
    assert tenant_of(CATALOGUE["LocationCreate"], body) == LOCATION
    assert entity_of(CATALOGUE["LocationCreate"], body) == LOCATION


def test_an_invoices_alt_id_is_the_location_only_where_alt_type_says_so():
    invoice = CATALOGUE["InvoicePaid"]
    assert tenant_of(invoice, {"altId": LOCATION, "altType": "location"}) == LOCATION
    assert tenant_of(invoice, {"altId": COMPANY, "altType": "company"}) is None
    assert tenant_of(invoice, {"altId": COMPANY}) is None


def test_a_known_type_falls_back_to_the_common_fields():
    assert tenant_of(CATALOGUE["InvoicePaid"], {"locationId": LOCATION}) == LOCATION
    assert tenant_of(CATALOGUE["ContactCreate"], {"companyId": COMPANY}) == COMPANY


def test_an_unknown_type_has_the_common_tenant_fields_and_no_entity():
    assert tenant_of(None, {"locationId": LOCATION, "companyId": COMPANY, "id": "x"}) == LOCATION
    assert tenant_of(None, {"companyId": COMPANY}) == COMPANY
    assert tenant_of(None, {"altId": LOCATION, "altType": "location"}) == LOCATION
    assert tenant_of(None, {"altId": LOCATION}) is None
    assert entity_of(None, {"id": "x"}) is None


def test_a_message_without_its_own_id_is_ordered_by_the_next_best():
    message = CATALOGUE["InboundMessage"]
    assert entity_of(message, {"messageId": "m", "emailMessageId": "e", "conversationId": "c"}) == "m"
    assert entity_of(message, {"emailMessageId": "e", "conversationId": "c"}) == "e"
    assert entity_of(message, {"messageId": None, "conversationId": "c"}) == "c"


def test_an_entity_id_can_stand_deep_in_the_body():
    assert entity_of(CATALOGUE["AppointmentCreate"], {"appointment": {"id": "a"}}) == "a"
    deep = {"webhookPayload": {"message": {"headers": {"message-id": "<m@x>"}}}}
    assert entity_of(CATALOGUE["LCEmailStats"], deep) == "<m@x>"
    assert entity_of(CATALOGUE["AppointmentCreate"], {"appointment": ["id"]}) is None


@pytest.mark.parametrize(
    "useless",
    [None, "", " ", "-", 7, 1.5, True, [LOCATION], {"id": LOCATION}, "x" * 201, "a\nb", "a\x00b", "\ud800", "\u202e"],
    ids=ascii,
)
def test_what_is_no_usable_id_names_no_tenant_and_no_entity(useless):
    contact = CATALOGUE["ContactCreate"]
    assert tenant_of(contact, {"locationId": useless}) is None
    assert entity_of(contact, {"id": useless}) is None
    assert tenant_of(contact, {"locationId": useless, "companyId": COMPANY}) == COMPANY


@given(st.sampled_from([None, *CATALOGUE.values()]), st.dictionaries(st.text(), json_values), json_values)
def test_any_body_gives_usable_ids_or_none(event_type, body, value):
    for field in ("locationId", "companyId", "altId", "altType", "id", "_id", "appointment", "webhookPayload"):
        for found in (tenant_of, company_of, entity_of):
            found_id = found(event_type, body | {field: value})
            assert found_id is None or (found_id.isprintable() and 0 < len(found_id) <= 200)
