"""Which handlers a worker finds in the modules that settings name, and what it says of faults."""

import itertools
import sys

import pytest

from processors.registry import handler_of, load_registry
from schemas.errors import Misconfigured

_numbers = itertools.count()

HEAD = "from levelgate import on\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of handlers; its name."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text) -> str:
        name = f"handlers_of_a_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        return name

    return write


def test_handlers_come_in_the_order_of_their_definition_under_their_names(module):
    name = module(
        "@on('ContactCreate')\nasync def greet(event, ctx): ...\n"
        "@on('InvoicePaid', 'AppInstall', name='book')\nasync def book_it(event, ctx): ...\n"
    )

    registry = load_registry([name], ())

    assert [handler.name for handler in registry.handlers] == [f"{name}.greet", "book"]
    assert [handler.name for handler in registry.for_type("INSTALL")] == ["book"]
    assert registry.for_type("ContactDelete") == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no function marked with @on"),
        ("@on('A')\ndef plain(event, ctx): ...", "is no async function"),
        ("@on('A')\nasync def lonely(event): ...", r"can't be called with \(event, ctx\)"),
        ("1 / 0", "ZeroDivisionError"),
        ("@on('A', attempts=0)\nasync def never(event, ctx): ...", "ValueError: @on: attempts"),
        ("@on('A', deadline=60)\nasync def late(event, ctx): ...", "TypeError: @on: deadline is a timedelta"),
        ("@on('SaasPlanCreate', coalesce=True)\nasync def plans(event, ctx): ...", "can't coalesce SaasPlanCreate"),
        (
            "@on('A', name='x')\nasync def one(event, ctx): ...\n@on('A', name='x')\nasync def two(event, ctx): ...",
            "two handlers are called x",
        ),
    ],
)
def test_a_faulty_module_is_told_in_a_sentence(module, text, fault):
    with pytest.raises(Misconfigured, match=fault):
        load_registry([module(text)], ())


def test_the_faults_of_all_modules_are_told_together(module):
    with pytest.raises(Misconfigured) as told:
        load_registry([module(""), "no_such_module_of_handlers"], ())

    assert len(told.value.faults) == 2


def test_a_function_without_a_mark_is_no_handler():
    async def unmarked(event, ctx):
        pass

    with pytest.raises(Misconfigured, match="not marked with @on"):
        handler_of(unmarked, built_in=False)
