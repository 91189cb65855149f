import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from levelgate.cli import root
from levelgate.cli.dead_letters.choosing import check_chosen
from levelgate.cli.pairs import Moment
from processors.filters import PairFilter

_PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259200)])
def test_a_time_may_be_said_as_how_long_ago(text, ago):
    told = Moment().convert(text, None, None)

    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - told) < timedelta(seconds=5)


def test_a_time_may_be_iso_and_is_this_machines_where_it_names_no_zone():
    assert Moment().convert("2026-11-24T03:00Z", None, None) == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert Moment().convert("2026-11-24T03:00+01:00", None, None) == datetime(2026, 11, 24, 2, tzinfo=UTC)
    assert Moment().convert("2026-11-24T03:00", None, None) == datetime(2026, 11, 24, 3).astimezone()


@pytest.mark.parametrize("text", ["yesterday", "2 h", "h", "", "2w", "9999999h", "999999d", "2026-13-01", "0001-01-01"])
def test_what_is_no_time_is_wrong_usage(text):
    with pytest.raises(click.BadParameter, match="2h"):
        Moment().convert(text, None, None)


def test_nothing_is_moved_without_saying_which():
    check_chosen(PairFilter(), everything=True)
    check_chosen(PairFilter(error="KeyError"), everything=False)
    with pytest.raises(click.UsageError):
        check_chosen(PairFilter(), everything=False)
    with pytest.raises(click.UsageError):
        check_chosen(PairFilter(deliveries=("d",)), everything=True)


@pytest.mark.parametrize(
    "arguments",
    [["show", "some-delivery"], ["redrive", "--all"], ["redrive", "--all", "--dry-run"], ["discard", "some-delivery"]],
    ids=" ".join,
)
def test_what_is_away_is_told_before_anybody_is_asked(arguments, levelgate, some_settings):
    result = levelgate("dead", *arguments, **some_settings)

    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line)
    assert "Postgres" in line


@pytest.mark.parametrize(
    "line", re.findall(r"^levelgate .*?(?=\s+#|$)", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
)
def test_the_commands_of_the_operations_page_exist(line):
    command: click.Command = root
    words = shlex.split(line)[1:]
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    command.make_context("levelgate", words)
