"""What a rehearsal's options mean together, and what its report tells of calls."""

import click
import pytest

from levelgate.cli.replays.rehearsal_options import RehearsalOptions
from levelgate.cli.replays.rehearsal_report import ComparisonReport, DryRunReport
from levelgate.highlevel.recording import Call
from processors.comparison import differences
from processors.rehearsal import Compared, Rehearsed, RehearsedPair
from processors.rehearsed_calls import RehearsedCall
from processors.statements import Statement
from processors.trial import Outcome
from schemas.settings import Kafka
from tests.support.deliveries import delivery

ENVELOPE = delivery(Kafka(), id="delivery-1").envelope
TAGS = Call("POST /contacts/c/tags", "location-1", {"notify": "ada@example.com"}, {"tags": ["marked-tag"]})
OTHER_TAGS = Call("POST /contacts/c/tags", "location-1", {"notify": "ada@example.com"}, {"tags": ["marked-other"]})
READ = Call("GET /contacts/c", "location-1", {}, None)


INSERT = Statement("INSERT INTO notes VALUES ($1)", arguments=("'marked-note'",))
OTHER_INSERT = Statement("INSERT INTO notes VALUES ($1)", arguments=("'marked-other'",))


def pair(*calls, error=None, statements=()):
    operations = {"POST": "POST /contacts/{contactId}/tags", "GET": "GET /contacts/{contactId}"}
    kept = tuple(
        RehearsedCall(each, operations[each.named.split()[0]], is_read=each.named.startswith("GET"), is_made=False)
        for each in calls
    )
    return RehearsedPair("greet", 0, Outcome("retry", error) if error else Outcome("done"), kept, statements)


def test_options_that_make_no_rehearsal_are_wrong_usage():
    assert not RehearsalOptions().is_wanted
    assert RehearsalOptions(dry_run=True, allow_reads=True, with_body=True, modules=("new",)).is_wanted
    assert RehearsalOptions(compares=True, modules=("new",)).is_wanted
    for wrong in (
        RehearsalOptions(compares=True),
        RehearsalOptions(modules=("new",)),
        RehearsalOptions(allow_reads=True),
        RehearsalOptions(with_body=True),
    ):
        with pytest.raises(click.UsageError):
            assert wrong.is_wanted


def test_a_dry_run_tells_calls_and_what_failed_for_want_of_an_answer():
    event = Rehearsed(ENVELOPE, (pair(READ, TAGS, error=KeyError("email")), pair(TAGS)))

    assert list(DryRunReport(with_body=False).lines(event)) == [
        "ContactCreate delivery-1 of location-1, app demo",
        "  greet: would retry, KeyError: 'email' (after a read that was not made)",
        "    GET /contacts/c  (a read, not made)",
        "    POST /contacts/c/tags?notify=…",
        "  greet: done",
        "    POST /contacts/c/tags?notify=…",
    ]
    assert [line.strip() for line in DryRunReport(with_body=True).lines(event)][-2:] == [
        'query {"notify":"ada@example.com"}',
        'body  {"tags":["marked-tag"]}',
    ]


def test_an_event_without_a_handler_is_counted_and_not_shown():
    report, event = DryRunReport(with_body=False), Rehearsed(ENVELOPE, ())

    report.count(event)

    assert (list(report.lines(event)), list(report.as_json(event))) == ([], [])
    assert report.summary(None)["events_without_handler"] == 1


def test_a_comparison_tells_fields_and_only_with_the_body_their_values():
    old, new = (pair(TAGS),), (pair(READ, OTHER_TAGS, error=KeyError("x")),)
    statements = tuple(differences([INSERT], [INSERT, OTHER_INSERT]))
    event = Compared(ENVELOPE, old, new, tuple(differences([TAGS], [OTHER_TAGS])), statements, (), ("retry: KeyError",))

    assert list(ComparisonReport(with_body=False).lines(event)) == [
        "ContactCreate delivery-1 of location-1, app demo",
        "  changed   POST /contacts/c/tags?notify=…: body/tags/0",
        "  only new  INSERT INTO notes VALUES ($1)",
        "  fails     old: nothing · new: retry: KeyError",
    ]
    assert '      body/tags/0: "marked-tag" → "marked-other"' in ComparisonReport(with_body=True).lines(event)
    (without,), (with_body,) = (list(ComparisonReport(with_body=each).as_json(event)) for each in (False, True))
    assert "marked" not in str(without)
    assert with_body["statements"] == [
        {"difference": "only_new", "statement": INSERT.named, "literals": (), "args": ("'marked-other'",)}
    ]
    assert with_body["calls"][0]["changes"] == [{"path": "body/tags/0", "old": "marked-tag", "new": "marked-other"}]


def test_a_comparison_counts_by_type_and_what_is_equal_is_not_shown():
    report = ComparisonReport(with_body=False)
    failed = (pair(READ, error=KeyError("x")),)
    equal = Compared(ENVELOPE, failed, failed, (), (), ("retry: KeyError",), ("retry: KeyError",))
    ran, rerun = (pair(TAGS, statements=(INSERT,)),), (pair(statements=(OTHER_INSERT,)),)
    statements = tuple(differences([INSERT], [OTHER_INSERT]))
    different = Compared(ENVELOPE, ran, rerun, tuple(differences([TAGS], [])), statements, (), ())

    report.count(Compared(ENVELOPE, (), (), (), (), (), ()))
    assert not report.is_equal
    report.count(equal)
    assert report.is_equal
    report.count(different)

    assert not report.is_equal
    assert (list(report.lines(equal)), list(report.as_json(equal))) == ([], [])
    assert report.summary()["by_type"] == {"ContactCreate": {"equal": 1, "different": 1}}
    assert (report.summary()["events"], report.summary()["events_without_handler"]) == (3, 1)
    assert report.summary()["calls"] == {"old": 2, "new": 1, "only_old": 1, "only_new": 0, "changed": 0}
    assert report.summary()["statements"] == {"old": 1, "new": 1, "only_old": 0, "only_new": 0, "changed": 1}
    assert report.summary()["fail_differently"] == 0
