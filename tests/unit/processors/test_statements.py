"""Statements of a rehearsal: which are refused because they would end its transaction, and what tells two apart."""

import pytest

from processors.statements import ends_transaction, repeatable, statement_of


@pytest.mark.parametrize(
    "query",
    [
        "COMMIT",
        " commit ;",
        "INSERT INTO t VALUES (1); COMMIT; SELECT 1",
        "-- all done\nCOMMIT",
        "/* really */ ROLLBACK",
        "ROLLBACK WORK",
        "END",
        "abort;",
        "PREPARE TRANSACTION 'later'",
        "DO $$ BEGIN NULL; END; $$; COMMIT",
    ],
)
def test_what_ends_a_transaction_is_seen(query):
    assert ends_transaction(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "BEGIN",
        "ROLLBACK TO SAVEPOINT here",
        "ROLLBACK TRANSACTION TO here",
        "INSERT INTO notes VALUES ('; COMMIT')",
        'SELECT "; COMMIT" FROM t',
        "DO $body$ BEGIN PERFORM 1; END; $body$",
        "UPDATE t SET commit = 1",
        "SELECT CASE WHEN true THEN 1 END",
        "PREPARE plan AS SELECT 1",
    ],
)
def test_all_else_is_left_alone(query):
    assert not ends_transaction(query)


def test_a_statement_is_called_by_its_text_and_carries_what_it_says_of_customers():
    query = """
        UPDATE "Notes" SET text = 'Ada''s'  -- don't
        WHERE id = $1 AND kind IN ($$a$$, $2) /* 'x' */
    """

    statement = statement_of("fetchval", (query, 7, b"x"), {"column": 1, "timeout": 2.0})

    assert statement.named == """UPDATE "Notes" SET text = '…' WHERE id = $1 AND kind IN ('…', $2)"""
    assert (statement.literals, statement.arguments) == (("'Ada''s'", "$$a$$"), ("7", "b'x'", "1"))
    assert statement_of("fetchval", (), {"query": "SELECT 1"}).named == "SELECT 1"


def test_of_many_rows_each_is_told_and_none_is_used_up():
    args, kwargs = repeatable("copy_records_to_table", ("notes",), {"records": iter([(1, "a"), (2, "b")])})

    statement = statement_of("copy_records_to_table", args, kwargs)

    assert (statement.named, statement.arguments) == ("copy_records_to_table notes", ("(1, 'a')", "(2, 'b')"))
    assert kwargs["records"] == [(1, "a"), (2, "b")]


def test_what_has_no_text_of_its_own_does_not_differ_by_its_place_in_memory():
    one, other = object(), object()

    assert statement_of("execute", ("SELECT $1", [one]), {}) == statement_of("execute", ("SELECT $1", [other]), {})
