import json
import sys

import pytest

HANDLERS = """
from datetime import timedelta
from levelgate import on
from levelgate.events import ContactCreate, InvoicePaid

@on(ContactCreate, InvoicePaid, name="greet", attempts=3, deadline=timedelta(hours=1), ordering="relaxed")
async def greet(event, ctx): ...
"""


@pytest.fixture
def my_handlers(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text=HANDLERS):
        (tmp_path / "handlers_of_the_command.py").write_text(text)
        return "handlers_of_the_command"

    yield write
    sys.modules.pop("handlers_of_the_command", None)


def test_handlers_lists_yours_and_the_built_in_ones_with_their_policies(levelgate, some_settings, my_handlers):
    listed = json.loads(levelgate("handlers", "--json", **some_settings, LEVELGATE_HANDLERS=my_handlers()).stdout)

    (mine,) = [handler for handler in listed if not handler["built_in"]]
    assert mine == {
        "handler": "greet",
        "types": ["ContactCreate", "InvoicePaid"],
        "module": "handlers_of_the_command",
        "built_in": False,
        "attempts": 3,
        "backoff_s": 2.0,
        "max_backoff_s": 3600.0,
        "deadline_s": 3600.0,
        "timeout_s": 120.0,
        "ordering": "relaxed",
        "coalesce": False,
    }
    assert [handler["coalesce"] for handler in listed if handler["handler"].endswith("mirror_contact")] == [True]
    assert "processors.handlers.contact.mirror_contact" in {handler["handler"] for handler in listed}


def test_handlers_in_words_shows_spans_with_their_units(levelgate, some_settings, my_handlers):
    shown = levelgate("handlers", **some_settings, LEVELGATE_HANDLERS=my_handlers(), LEVELGATE_SYNC="false").stdout

    (mine,) = [line for line in shown.splitlines() if "greet" in line]
    assert "2 s to 1 h" in mine
    assert "2 min" in mine
    assert "relaxed" in mine
    assert "mirror_contact" not in shown
    assert "record_install" in shown, "installs are noticed whatever is switched off"


def test_a_policy_that_cannot_be_is_told_without_a_traceback(levelgate, some_settings, my_handlers):
    name = my_handlers(HANDLERS.replace("attempts=3", "attempts=0"))

    result = levelgate("handlers", **some_settings, LEVELGATE_HANDLERS=name)

    assert result.exit_code == 2
    assert "attempts counts the first run too" in result.output
    assert "Traceback" not in result.output
