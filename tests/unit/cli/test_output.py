from datetime import UTC, datetime

import pytest

from levelgate.cli.demo.summary import SentSample, count_families
from levelgate.cli.output import cell, print_table


def test_a_table_wider_than_the_terminal_is_printed_whole(capsys):
    long = "x" * 300
    print_table(("name", "number"), [(long, 1), ("short", 22)], empty="none")

    output = capsys.readouterr().out
    assert long in output
    assert len([line for line in output.splitlines() if line.strip()]) == 4


def test_an_empty_table_says_so(capsys):
    print_table(("name",), [], empty="nothing is parked")

    assert capsys.readouterr().out == "nothing is parked\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), ("", "-"), (True, "yes"), (0, "0"), ((), "-"), (("a", "b"), "a, b"), ("a\x1b[2Jb\nc", "a [2Jb c")],
)
def test_values_are_shown_on_one_line_that_moves_no_cursor(value, shown):
    assert cell(value) == shown


def test_markup_in_a_value_is_text(capsys):
    print_table(("name",), [("[red]x[/red]",)], empty="none")

    assert "[red]x[/red]" in capsys.readouterr().out


def test_times_are_shown_without_fractions():
    assert "." not in cell(datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC))


def test_every_sample_is_counted_in_its_family_by_its_end():
    sent = [
        SentSample("ContactCreate-1", "ContactCreate", "1", accepted=True),
        SentSample("ContactUpdate-1", "ContactUpdate", "2", accepted=True),
        SentSample("ContactDelete-1", "ContactDelete", "3", accepted=False),
        SentSample("TaskCreate-1", "TaskCreate", "4", accepted=True),
    ]
    families, total = count_families(sent, {"1": "handled", "2": "parked", "4": "dead"})

    contact, task = families
    assert (contact.family, contact.sent, contact.accepted, contact.handled, contact.parked) == ("contact", 3, 2, 1, 1)
    assert (task.family, task.sent, task.dead) == ("task", 1, 1)
    assert (total.sent, total.accepted, total.handled, total.parked, total.dead, total.quarantined) == (
        4,
        3,
        1,
        1,
        1,
        0,
    )
