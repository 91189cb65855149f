"""How a command's trouble with Postgres is told: on a real one that is slow, refuses, or ends the connection."""

import pytest

from levelgate.cli.connections import Unreachable, open_pool
from schemas.errors import LevelgateError
from tests.support.commands import levelgate

SLEEP = "SELECT pg_sleep(60)"


@pytest.mark.parametrize(
    ("before", "query", "kind", "told"),
    [
        ("SET statement_timeout = 50", SLEEP, Unreachable, r"takes too long \(QueryCanceledError\)"),
        ("SELECT", SLEEP, Unreachable, r"takes too long \(TimeoutError\)"),
        ("SET ROLE pg_monitor", "SELECT FROM replay", LevelgateError, "refuses it .* role that may"),
        ("SET default_transaction_read_only = on", "DELETE FROM replay", LevelgateError, "refuses it .* the primary"),
        ("SELECT", "SELECT pg_terminate_backend(pg_backend_pid())", Unreachable, "can't be reached"),
    ],
    ids=["canceled", "too-slow", "role", "read-only", "gone"],
)
async def test_postgres_trouble_within_a_command_is_told_in_its_words(settings, before, query, kind, told):
    async def command():
        async with open_pool(settings) as pool, pool.acquire() as connection:
            await connection.execute(before)
            await connection.execute(query, timeout=0.2 if "Timeout" in told else 30)

    with pytest.raises(kind, match=told):
        await command()


async def test_who_stops_reading_the_output_is_not_postgres(settings):
    with pytest.raises(BrokenPipeError):
        async with open_pool(settings):
            raise BrokenPipeError


@pytest.mark.parametrize(
    ("command", "table"),
    [("replay status", "replay"), ("dead list", "dead"), ("replay plan --from dead --all", "dead")],
)
async def test_a_command_that_waits_for_a_lock_too_long_ends_in_one_sentence(settings, pool, command, table):
    url = f"{settings.database_url.get_secret_value()}?statement_timeout=200"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        code, _, errors = await levelgate(settings, *command.split(), LEVELGATE_DATABASE_URL=url)

    *_, told = errors.splitlines()
    assert (code, "Traceback" in errors) == (1, False)
    assert "Postgres takes too long" in told
