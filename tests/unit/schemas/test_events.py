import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

import levelgate.events
from levelgate.events import ContactCreate, ContactDndUpdate, Install, InvoicePaid, UnknownEvent
from schemas.catalogue import CATALOGUE
from schemas.errors import WrongShape
from schemas.events import EVENTS, decode, decode_unknown
from schemas.samples import samples
from schemas.validation import validate

CONTACT = CATALOGUE["ContactCreate"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def test_every_event_type_has_its_class_and_handlers_can_import_it():
    assert set(EVENTS) == set(CATALOGUE)
    assert all(getattr(levelgate.events, each.__name__) is each for each in EVENTS.values())
    assert all(each.wire == wire for wire, each in EVENTS.items())


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_every_documented_body_has_the_shape_of_its_event(sample):
    for element in sample.body if isinstance(sample.body, list) else [sample.body]:
        validate(CATALOGUE[sample.type], element)


def test_a_typed_event_has_the_fields_under_python_names():
    event = decode(
        CONTACT, {"id": "c", "locationId": "l", "firstName": "Ada", "customFields": [{"id": "f", "value": 7}]}
    )
    assert isinstance(event, ContactCreate)
    assert (event.id, event.location_id, event.first_name) == ("c", "l", "Ada")
    assert event.custom_fields is not None
    assert event.custom_fields[0] is not None
    assert event.custom_fields[0].value == 7


def test_the_id_of_an_invoice_is_called_id():
    event = decode(CATALOGUE["InvoicePaid"], {"_id": "i"})
    assert isinstance(event, InvoicePaid)
    assert event.id == "i"


def test_an_event_of_capitals_has_a_class_in_camel_case():
    assert isinstance(decode(CATALOGUE["INSTALL"], {}), Install)


def test_fields_that_no_class_names_are_kept():
    body = {"id": "c", "brandNew": {"deep": [1]}, "customFields": [{"id": "f", "extra": 1}]}
    assert decode(CONTACT, body).raw is body


def test_what_is_missing_is_an_empty_id_or_none():
    event = decode(CONTACT, {})
    assert isinstance(event, ContactCreate)
    assert (event.id, event.location_id, event.webhook_id, event.timestamp, event.email) == ("", "", "", "", None)


def test_whole_numbers_stay_whole():
    event = decode(CATALOGUE["InvoicePaid"], {"total": 999, "amountDue": 99.5})
    assert isinstance(event, InvoicePaid)
    assert repr(event.total) == "999"
    assert repr(event.amount_due) == "99.5"


def test_scalars_may_be_null_and_ids_may_not():
    validate(CONTACT, {"id": "c", "email": None, "dnd": None, "assignedTo": None, "tags": None})
    with pytest.raises(WrongShape):
        validate(CONTACT, {"id": None})


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"id": 7}, "$.id"),
        ({"timestamp": 1700000000}, "$.timestamp"),
        ({"dnd": "MARKED"}, "$.dnd"),
        ({"email": {"MARKED": 1}}, "$.email"),
        ({"customFields": "MARKED"}, "$.customFields"),
        ({"customFields": [{"id": "f"}, {"id": ["MARKED"]}]}, "$.customFields[1].id"),
    ],
)
def test_a_wrong_shape_is_told_by_its_path_without_the_value(body, path):
    with pytest.raises(WrongShape, match="ContactCreate") as raised:
        validate(CONTACT, body)
    assert path in str(raised.value)
    assert "MARKED" not in str(raised.value)
    assert raised.value.reason == "wrong_shape"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("kind", ["one_time", "recurring", "PriceUpdate", ""])
def test_a_prices_type_may_be_its_kind(kind):
    validate(CATALOGUE["PriceUpdate"], {"type": kind, "_id": "p"})


def test_a_value_that_the_documents_do_not_list_is_accepted():
    validate(CATALOGUE["APP_PAYMENT_STATUS"], {"newStatus": "REFUNDED"})
    validate(CATALOGUE["PriceCreate"], {"trackInventory": True})


def test_dnd_settings_of_a_channel_that_is_not_documented_are_kept():
    event = decode(CATALOGUE["ContactDndUpdate"], {"dndSettings": {"RCS": {"status": "active"}, "SMS": {"code": ""}}})
    assert isinstance(event, ContactDndUpdate)
    assert event.dnd_settings is not None
    assert event.dnd_settings.sms is not None
    assert event.raw["dndSettings"]["RCS"] == {"status": "active"}


def test_an_event_shows_nothing_of_its_body():
    event = decode(CONTACT, {"id": "MARKED", "customFields": [{"id": "MARKED"}]})
    assert isinstance(event, ContactCreate)
    for shown in (repr(event), str(event), pretty_repr(event), repr(event.custom_fields), pretty_repr([event])):
        assert "MARKED" not in shown
    assert repr(event) == "<ContactCreate>"


def test_an_event_of_an_unknown_type_has_its_body():
    body = {"type": "BrandNew", "webhookId": 7, "id": "x"}
    event = decode_unknown(body)
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.webhook_id, event.raw) == ("BrandNew", "", body)


@pytest.mark.parametrize("field", ["x", "id", "email", "tags", "customFields", "attachments", "type"])
@pytest.mark.parametrize(
    "hostile",
    [nested(100_000), 10**4000, -(10**4000), float("inf"), "x" * 1_000_000, {str(n): n for n in range(100_000)}],
    ids=["deep", "huge", "-huge", "infinite", "long", "wide"],
)
def test_a_hostile_value_is_taken_or_refused_as_a_wrong_shape(field, hostile):
    with contextlib.suppress(WrongShape):
        validate(CONTACT, {field: hostile})


@given(st.sampled_from(list(CATALOGUE.values())), st.dictionaries(st.text(), json_values), st.data())
def test_any_body_is_taken_or_refused_as_a_wrong_shape(event_type, body, data):
    field = data.draw(st.sampled_from(EVENTS[event_type.wire].__struct_encode_fields__))
    for candidate in (body, body | {field: data.draw(json_values)}):
        try:
            event = decode(event_type, candidate)
        except WrongShape:
            continue
        assert event.raw is candidate
