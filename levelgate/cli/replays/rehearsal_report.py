"""How a rehearsal's results are told: as lines of text, or as JSON. Pure.

Bodies of calls, values of queries, and what statements carry are customer data: in the result only `with_body`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from levelgate.cli.output import cell
from levelgate.highlevel.recording import Call
from processors.attempts import describe
from processors.comparison import MISSING, Act, Change, Changed, Difference, OnlyNew, OnlyOld
from processors.rehearsal import Compared, Rehearsed, RehearsedPair
from processors.rehearsed_calls import Reads
from schemas.envelope import Envelope

_NONE = {"old": 0, "new": 0, "only_old": 0, "only_new": 0, "changed": 0}
_OUTCOMES = {"done": "done", "retry": "would_retry", "dead": "would_be_dead"}


class DryRunReport:
    """Tells what handlers would do, event by event, and counts."""

    def __init__(self, *, with_body: bool) -> None:
        self._with_body = with_body
        self.events = self._without_handler = self._guesses = self._unmade = 0
        self._outcomes: Counter[str] = Counter(dict.fromkeys(_OUTCOMES.values(), 0))
        self._operations: Counter[str] = Counter()

    def count(self, event: Rehearsed) -> None:
        """Add an event to the summary."""
        self.events += 1
        self._without_handler += not event.pairs
        for pair in event.pairs:
            self._outcomes[_OUTCOMES[pair.outcome.state]] += 1
            self._guesses += pair.is_guess
            for call in pair.calls:
                if not call.is_read:
                    self._operations[call.operation] += 1
                elif not call.is_made:
                    self._unmade += 1

    def as_json(self, event: Rehearsed) -> Iterator[dict[str, Any]]:
        """Yield an object for each pair."""
        for pair in event.pairs:
            error = pair.outcome.error
            yield {
                **_named(event.envelope),
                "handler": pair.handler,
                "element": pair.element,
                "outcome": _OUTCOMES[pair.outcome.state],
                "reason": pair.outcome.reason,
                "error": type(error).__name__ if error else None,
                "message": describe(error) if error else None,
                "failed_after_unmade_read": pair.is_guess,
                "calls": [
                    {
                        **_call_fields(each.call, with_body=self._with_body),
                        "operation": each.operation,
                        "kind": "read" if each.is_read else "write",
                        "made": each.is_made,
                    }
                    for each in pair.calls
                ],
            }

    def lines(self, event: Rehearsed) -> Iterator[str]:
        """Yield an event's lines; none where no handler is for it."""
        if event.pairs:
            yield _title(event.envelope)
        for pair in event.pairs:
            yield f"  {_ended(pair)}"
            for each in pair.calls:
                note = "" if not each.is_read else "  (read)" if each.is_made else "  (a read, not made)"
                yield f"    {_called(each.call)}{note}"
                if self._with_body:
                    yield from _carried(each.call)

    def summary(self, reads: Reads | None) -> dict[str, Any]:
        """Return the totals; `reads` made those that were made."""
        return {
            "events": self.events,
            "events_without_handler": self._without_handler,
            "pairs": dict(self._outcomes),
            "failed_after_unmade_read": self._guesses,
            "writes": dict(self._operations.most_common()),
            "reads": {
                "made": reads.made if reads else 0,
                "answered_from_memory": reads.remembered if reads else 0,
                "not_made": self._unmade,
            },
        }


class ComparisonReport:
    """Tells the events about which two versions of handlers differ, and counts."""

    def __init__(self, *, with_body: bool) -> None:
        self._with_body = with_body
        self.events = self._without_handler = 0
        self._types: dict[str, Counter[str]] = {}
        self._calls = Counter(_NONE)
        self._statements = Counter(_NONE)
        self._failures = self._guesses = 0

    @property
    def is_equal(self) -> bool:
        """Whether events were compared and none of them differed."""
        return bool(self._types) and not any(counts["different"] for counts in self._types.values())

    def count(self, event: Compared) -> None:
        """Add an event to the summary."""
        self.events += 1
        if not event.has_handler:
            self._without_handler += 1
            return
        counts = self._types.setdefault(event.envelope.type, Counter(equal=0, different=0))
        counts["equal" if event.is_equal else "different"] += 1
        for side, pairs in (("old", event.old), ("new", event.new)):
            self._calls[side] += sum(len(pair.calls) for pair in pairs)
            self._statements[side] += sum(len(pair.statements) for pair in pairs)
        self._calls.update(map(_kind, event.calls))
        self._statements.update(map(_kind, event.statements))
        self._failures += event.old_failures != event.new_failures
        self._guesses += sum(pair.is_guess for pair in (*event.old, *event.new))

    def as_json(self, event: Compared) -> Iterator[dict[str, Any]]:
        """Yield an object for an event that differs."""
        if event.is_equal:
            return
        yield {
            **_named(event.envelope),
            "calls": [_difference_fields(each, with_body=self._with_body) for each in event.calls],
            "statements": [_difference_fields(each, with_body=self._with_body) for each in event.statements],
            "failures": {"old": event.old_failures, "new": event.new_failures},
        }

    def lines(self, event: Compared) -> Iterator[str]:
        """Yield the lines of an event that differs."""
        if event.is_equal:
            return
        yield _title(event.envelope)
        for each in (*event.calls, *event.statements):
            yield from self._difference(each)
        if event.old_failures != event.new_failures:
            yield f"  fails     old: {_joined(event.old_failures)} · new: {_joined(event.new_failures)}"

    def summary(self) -> dict[str, Any]:
        """Return the totals."""
        return {
            "events": self.events,
            "events_without_handler": self._without_handler,
            "equal": sum(counts["equal"] for counts in self._types.values()),
            "different": sum(counts["different"] for counts in self._types.values()),
            "by_type": {wire: dict(counts) for wire, counts in sorted(self._types.items())},
            "calls": dict(self._calls),
            "statements": dict(self._statements),
            "fail_differently": self._failures,
            "failed_after_unmade_read": self._guesses,
        }

    def _difference(self, each: Difference) -> Iterator[str]:
        if isinstance(each, Changed):
            yield f"  changed   {_called(each.new)}: {', '.join(cell(change.path) for change in each.changes)}"
            if self._with_body:
                yield from (f"      {cell(c.path)}: {_value(c.old)} → {_value(c.new)}" for c in each.changes)
            return
        side, act = ("old", each.old) if isinstance(each, OnlyOld) else ("new", each.new)
        yield f"  only {side}  {_called(act)}"
        if self._with_body:
            yield from _carried(act)


def act_fields(act: Act, *, with_body: bool) -> dict[str, Any]:
    """Return a call's or a statement's fields for JSON."""
    if isinstance(act, Call):
        return _call_fields(act, with_body=with_body)
    carried = {"literals": act.literals, "args": act.arguments} if with_body else {}
    return {"statement": act.named, **carried}


def _call_fields(call: Call, *, with_body: bool) -> dict[str, Any]:
    method, _, path = call.named.partition(" ")
    fields = {"method": method, "path": path, "tenant": call.tenant, "query_names": sorted(call.query)}
    return fields | {"query": call.query, "json": call.json} if with_body else fields


def _difference_fields(each: Difference, *, with_body: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"difference": _kind(each)}
    match each:
        case OnlyOld(act) | OnlyNew(act):
            return fields | act_fields(act, with_body=with_body)
        case Changed(_, act, changes):
            fields |= act_fields(act, with_body=False)
            return fields | {"changes": [_change_fields(change, with_body=with_body) for change in changes]}


def _change_fields(change: Change, *, with_body: bool) -> dict[str, Any]:
    values = {"old": change.old, "new": change.new} if with_body else {}
    return {"path": change.path} | {side: value for side, value in values.items() if value is not MISSING}


def _kind(each: Difference) -> str:
    match each:
        case OnlyOld():
            return "only_old"
        case OnlyNew():
            return "only_new"
        case Changed():
            return "changed"


def _named(envelope: Envelope) -> dict[str, Any]:
    return {"delivery": envelope.id, "app": envelope.app, "tenant": envelope.tenant, "type": envelope.type}


def _title(envelope: Envelope) -> str:
    return f"{cell(envelope.type)} {cell(envelope.id)} of {cell(envelope.tenant)}, app {envelope.app}"


def _ended(pair: RehearsedPair) -> str:
    element = f", element {pair.element}" if pair.element else ""
    outcome = _OUTCOMES[pair.outcome.state].replace("_", " ")
    error = pair.outcome.error
    failed = "" if error is None else f", {type(error).__name__}: {cell(describe(error))}"
    hint = " (after a read that was not made)" if pair.is_guess else ""
    return f"{cell(pair.handler)}{element}: {outcome}{failed}{hint}"


def _called(act: Act) -> str:
    names = "&".join(f"{name}=…" for name in sorted(act.query)) if isinstance(act, Call) else ""
    return cell(f"{act.named}?{names}" if names else act.named)


def _carried(act: Act) -> Iterator[str]:
    if isinstance(act, Call):
        parts = {"query": act.query or None, "body": act.json}
    else:
        parts = {"literals": act.literals or None, "args": act.arguments or None}
    yield from (f"      {part:5} {_value(value)}" for part, value in parts.items() if value is not None)


def _value(value: Any) -> str:  # noqa: ANN401 -- any JSON
    return "nothing" if value is MISSING else cell(orjson.dumps(value).decode())


def _joined(failures: tuple[str, ...]) -> str:
    return ", ".join(failures) or "nothing"
