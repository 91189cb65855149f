from typing import Any

from schemas.catalogue import CATALOGUE, lookup
from schemas.samples import samples

BY_NAME = {sample.name: sample for sample in samples()}


def body(name: str) -> dict[str, Any]:
    found = BY_NAME[name].body
    assert isinstance(found, dict)
    return found


def test_all_documented_bodies_are_there():
    assert len(samples()) == len(BY_NAME) == 83
    assert {sample.type for sample in samples()} == set(CATALOGUE)


def test_where_the_event_is_not_named_in_the_path_the_body_names_it():
    for sample in samples():
        if not sample.in_path and not sample.provider:
            first = sample.body[0] if isinstance(sample.body, list) else sample.body
            named = lookup(first["type"])
            assert named is not None, sample.name
            assert named.wire == sample.type


def test_a_type_that_the_documents_lack_is_not_in_the_body():
    assert "type" not in body("InvoicePaid-1")
    assert "type" not in body("VoiceAiCallEnd-1")
    assert BY_NAME["InvoicePaid-1"].in_path


def test_a_wrong_type_of_the_documents_stays_wrong():
    assert body("AppointmentUpdate-1")["type"] == "AppointmentCreate"
    assert body("InboundMessage-2")["type"] == "OutboundMessage"
    assert body("UserDelete-1")["type"] == "UserCreate"
    assert all(BY_NAME[name].in_path for name in ("AppointmentUpdate-1", "InboundMessage-2", "UserDelete-1"))


def test_the_other_bodies_of_such_an_event_are_named_by_themselves():
    assert not BY_NAME["InboundMessage-1"].in_path
    assert not BY_NAME["InboundMessage-3"].in_path


def test_a_price_is_told_by_its_kind_as_in_the_documents():
    assert body("PriceUpdate-1")["type"] == "one_time"
    assert "priceType" not in body("PriceUpdate-1")


def test_every_event_whose_name_is_inferred_is_named_in_the_path():
    assert all(sample.in_path for sample in samples() if "inferred" in CATALOGUE[sample.type].type_certainty)


def test_the_provider_message_goes_to_the_providers_url_and_has_its_channel_as_type():
    provider = [sample for sample in samples() if sample.provider]
    assert [(sample.name, sample.in_path) for sample in provider] == [("ProviderOutboundMessage-1", False)]
    assert body("ProviderOutboundMessage-1")["type"] == "SMS"


def test_each_caller_gets_bodies_of_its_own():
    first = samples()[0].body
    assert isinstance(first, dict)
    first["type"] = "changed"
    assert samples()[0].body == body("INSTALL-1")
