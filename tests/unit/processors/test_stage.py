"""Which statements a rehearsal refuses because they would end its transaction."""

import pytest

from processors.stage import ends_transaction


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
