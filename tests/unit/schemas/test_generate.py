import json

import pytest

from schemas.catalogue import CATALOGUE
from schemas.generate import PACKAGE, generate, json_schema, stale_files
from schemas.generate_events import event_modules
from schemas.generate_names import attribute_name, class_name, part_name


@pytest.fixture(scope="module")
def texts():
    return generate()


def event(**fields):
    return {"type": "Ping", "family": "ping", "title": "Ping", "schema": {"properties": fields}}


def test_what_is_generated_is_current(texts):
    assert stale_files(texts) == []


def test_every_event_has_a_json_schema_that_names_it():
    found = {path.stem: json.loads(path.read_text()) for path in (PACKAGE / "jsonschema").glob("*.json")}
    assert set(found) == set(CATALOGUE)
    assert all(schema["$id"] == f"urn:levelgate:event:{wire}" for wire, schema in found.items())


def test_a_changed_or_missing_or_left_over_file_is_not_current(texts):
    assert stale_files(texts | {"event_table.py": "other"}) == ["event_table.py"]
    assert stale_files(texts | {"events/brand_new.py": ""}) == ["events/brand_new.py"]
    fewer = {name: text for name, text in texts.items() if name != "jsonschema/INSTALL.json"}
    assert stale_files(fewer) == ["jsonschema/INSTALL.json"]


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("locationId", "location_id"),
        ("_id", "id"),
        ("from", "from_"),
        ("address1", "address1"),
        ("isSaaSV2", "is_saas_v2"),
        ("WhatsApp", "whatsapp"),
        ("SMS", "sms"),
        ("i-ip-pool-id", "i_ip_pool_id"),
        ("logoURL", "logo_url"),
    ],
)
def test_a_fields_name_becomes_pythons(field, attribute):
    assert attribute_name(field) == attribute


def test_a_classs_name_is_in_camel_case():
    assert class_name("PLAN_CHANGE") == "PlanChange"
    assert class_name("LCEmailStats") == "LCEmailStats"
    assert part_name("line-items", is_list=True) == "LineItemsItem"


def test_two_fields_of_one_name_stop_the_generator():
    with pytest.raises(ValueError, match="two fields would be called id"):
        event_modules([event(id={"type": "string"}, _id={"type": "string"})])


def test_equal_objects_share_a_class_and_different_ones_do_not():
    one = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    other = {"type": "object", "properties": {"b": {"type": ["string", "null"]}}}
    pong = event(address=other) | {"type": "Pong"}
    module = event_modules([event(address=one), event(address=one) | {"type": "Pang"}, pong])["events/ping.py"]
    assert module.count("class Address(") == 1
    assert "class PongAddress(" in module


def test_a_field_that_was_only_ever_null_is_left_open():
    schema = json_schema(
        {
            "type": "Ping",
            "family": "ping",
            "title": "Ping",
            "type_certainty": "sample",
            "schema": {
                "$schema": "draft",
                "type": "object",
                "properties": {"stock": {"type": "null"}, "kind": {"type": ["string", "null"], "enum": ["A", None]}},
            },
        }
    )
    assert schema["properties"] == {"stock": {}, "kind": {"type": ["string", "null"], "examples": ["A"]}}
