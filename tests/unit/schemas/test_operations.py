import pytest

from schemas.operations import OPERATIONS


def test_every_documented_operation_is_there():
    assert len(OPERATIONS) == len(list(OPERATIONS)) == 576
    assert len({operation.family for operation in OPERATIONS.values()}) == 41


def test_an_operation_says_how_it_is_called():
    operation = OPERATIONS["contacts.get-contact"]
    assert (operation.method, operation.path, operation.version) == ("GET", "/contacts/{contactId}", "2021-07-28")
    assert (operation.token, operation.scopes, operation.pagination) == ("Location", ("contacts.readonly",), None)


def test_the_exchange_takes_a_company_token_and_a_form():
    operation = OPERATIONS["oauth.get-location-access-token"]
    assert (operation.token, operation.content_type) == ("Agency", "application/x-www-form-urlencoded")


def test_paging_is_told_where_there_is_some():
    assert OPERATIONS["oauth.get-installed-location"].pagination == "skip + limit"


def test_ids_are_made_of_family_and_operation():
    assert all(id_ == operation.id for id_, operation in OPERATIONS.items())
    assert all(operation.id.startswith(f"{operation.family}.") for operation in OPERATIONS.values())


def test_an_unknown_operation_is_a_key_error():
    with pytest.raises(KeyError):
        OPERATIONS["contacts.fly"]
    assert "contacts.fly" not in OPERATIONS


@pytest.mark.parametrize(
    ("operation_id", "is_read"),
    [
        ("contacts.get-contact", True),
        ("contacts.search-contacts-advanced", True),
        ("locations.task-search", True),
        ("contacts.create-contact", False),
        ("contacts.update-contact", False),
        ("contacts.delete-contact", False),
        ("oauth.get-location-access-token", False),
    ],
)
def test_an_operation_tells_whether_it_only_reads(operation_id, is_read):
    assert OPERATIONS[operation_id].is_read == is_read
