"""The guide's examples run: its python blocks are one module, whose tests are run here."""

import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from levelgate.cli import root
from processors.registry import marked
from schemas.settings import Worker

PAGE = Path(__file__).parents[3] / "docs" / "handlers.md"
TEXT = PAGE.read_text()


def _module() -> ModuleType:
    module = ModuleType("handlers_page")
    # Blank lines for the prose: a traceback then names the page's own lines.
    lines = ["" for _ in TEXT.splitlines()]
    inside = False
    for number, line in enumerate(TEXT.splitlines()):
        if line.startswith("```"):
            inside = line == "```python"
        elif inside:
            lines[number] = line
    exec(compile("\n".join(lines), str(PAGE), "exec"), module.__dict__)  # noqa: S102 -- our own page
    return module


MODULE = _module()
TESTS = [value for name, value in vars(MODULE).items() if name.startswith("test_")]


def test_the_page_has_handlers_that_a_worker_would_load():
    assert [handler.name for handler in marked(MODULE, built_in=False)] == [
        "greet",
        "follow-up",
        "auto-reply",
        "score",
        "certificate",
    ]


@pytest.mark.parametrize("example", TESTS, ids=lambda example: example.__name__)
async def test_the_tests_of_the_page_pass(example):
    await example()


def test_the_commands_that_the_page_names_are_there():
    named = set(re.findall(r"`levelgate ([a-z-]+)", TEXT))

    assert named
    assert named <= set(root.list_commands(click.Context(root)))


def test_the_defaults_that_the_page_names_are_those_of_the_settings():
    worker = Worker()
    for name, shown, value in [
        ("MAX_ATTEMPTS", "8", worker.max_attempts),
        ("BACKOFF_S", "2 s", worker.backoff_s),
        ("MAX_BACKOFF_S", "1 h", worker.max_backoff_s / 3600),
        ("HANDLER_TIMEOUT_S", "2 min", worker.handler_timeout_s / 60),
    ]:
        assert f"__{name}`, {shown} |" in TEXT
        assert float(shown.split()[0]) == value
