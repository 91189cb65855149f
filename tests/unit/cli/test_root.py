import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from levelgate.cli import root


def _commands(group, *path):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)


_ALL = dict(_commands(root))


@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_the_help_of_every_command_says_what_it_does(path):
    result = CliRunner().invoke(root, [*path, "--help"])

    assert result.exit_code == 0
    usage, _, text = result.output.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert re.match(r"\s+[A-Z][a-z]", text), "a sentence comes first"
    if not isinstance(_ALL[path], click.Group):
        assert "Examples:" in result.output
        assert f"levelgate {' '.join(path)}" in result.output


def test_every_command_of_the_design_is_there():
    wanted = (
        "up down status receiver worker simulator migrate topics simulate apps installs parked dead replay trace check"
    )
    assert {name for (name, *_), _ in _ALL.items()} == {*wanted.split(), "budget", "handlers", "run-local"}


def test_the_list_of_commands_names_each_and_imports_none():
    script = (
        "import sys; from click.testing import CliRunner; from levelgate.cli import root\n"
        "output = CliRunner().invoke(root, ['--help']).output\n"
        "assert 'run-local' in output and 'Start everything' in output, output\n"
        "print([m for m in ('aiohttp', 'aiokafka', 'asyncpg', 'rich', 'pydantic', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


def test_missing_settings_are_listed_at_once_without_a_traceback(levelgate):
    result = levelgate("apps", LEVELGATE_RECEIVER__PORT="marked-value")

    assert result.exit_code == 2
    for name in ("LEVELGATE_APPS", "LEVELGATE_DATABASE_URL", "LEVELGATE_TOKEN_KEYS", "LEVELGATE_RECEIVER__PORT"):
        assert name in result.output
    assert "Traceback" not in result.output
    assert "marked-value" not in result.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["parked"], "Postgres"),
        (["budget", "show"], "Postgres"),
        (["dead", "list"], "Postgres"),
        (["replay", "status"], "Postgres"),
        (["replay", "plan", "--all"], "Postgres"),
        (["installs", "list", "--json"], "Postgres"),
        (["trace", "some-delivery"], "Postgres"),
        (["migrate"], "Postgres"),
        (["topics", "show"], "127.0.0.1:1"),
        (["simulate", "samples"], "no simulator answers"),
        (["simulate", "install", "--location", "location-1"], "no simulator answers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.expected_errors("aiokafka: Unable connect to")
def test_what_is_away_is_told_in_one_sentence_with_what_to_do(arguments, named, levelgate, some_settings):
    result = levelgate(*arguments, **some_settings)

    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1
    assert named in lines[0]
    assert re.search(r"check|start", lines[0])
    assert "marked-password" not in result.output


def test_uninstall_without_a_tenant_is_wrong_usage(levelgate):
    assert levelgate("simulate", "uninstall").exit_code == 2


async def test_ctrl_c_ends_a_command_quietly(some_settings):

    # A Postgres that takes the connection and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        url = f"postgresql://someone:secret@127.0.0.1:{port}/levelgate"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "levelgate", "parked"),
            env={**os.environ, **some_settings, "LEVELGATE_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(server), 30)
        with connection:
            # Interrupted while it waits, not in the moment in which it connects.
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 1), 30)
            process.send_signal(signal.SIGINT)
            output, errors = await asyncio.wait_for(process.communicate(), 30)

    assert (process.returncode, output, errors) == (130, b"", b"")
