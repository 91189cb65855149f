import asyncio
import re

import asyncpg
import pytest

from levelgate.migrations import migrate, migrations, pending
from schemas.errors import LevelgateError

NAMES = [m.name for m in migrations()]


async def test_an_empty_database_gets_every_migration_in_order(empty_database_url):
    assert await pending(empty_database_url) == NAMES
    heard: list[str] = []
    assert await migrate(empty_database_url, on_applied=heard.append) == NAMES
    assert heard == NAMES
    assert await pending(empty_database_url) == []


async def test_a_second_run_applies_nothing(database_url):
    assert await migrate(database_url) == []


async def test_two_runs_at_once_take_turns(empty_database_url):
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(migrate(empty_database_url)) for _ in range(4)]
    applied = [name for run in runs for name in run.result()]
    assert applied == NAMES


async def test_a_migration_that_only_the_database_knows_is_left_alone(database_url, pool):
    await pool.execute("INSERT INTO schema_migration (name) VALUES ('9999_pre_of_a_newer_version')")
    assert await migrate(database_url) == []
    assert await pending(database_url) == []


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE mirror (id int)")  # In the way of the first one.
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_database_url)
    assert await connection.fetchval("SELECT to_regclass('installation') IS NULL")
    await connection.execute("DROP TABLE mirror")
    assert await migrate(empty_database_url) == NAMES
    await connection.close()


async def test_a_database_that_is_away_is_told_without_its_password():
    with pytest.raises(LevelgateError, match="LEVELGATE_DATABASE_URL") as error:
        await migrate("postgresql://user:hidden-password@127.0.0.1:1/nowhere")
    assert "hidden-password" not in str(error.value)


def test_the_names_of_the_migrations_say_their_order_and_when_they_are_safe():
    assert sorted(NAMES) == NAMES
    assert all(re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+", name) for name in NAMES)
