"""From what became of pairs to the columns of the ledger's statements, a batch at a time. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from processors.pairs import Dead, Done, History, Line, Outcome, Pair, Parked, Record, kept, pair_columns

Columns = dict[str, list[Any]]


class PairEntry(msgspec.Struct, frozen=True):
    """What became of one pair; `recorded` is told True when it is in Postgres, False when it was fenced off."""

    epoch: int
    record: Record
    pair: Pair
    outcome: Outcome
    was_parked: bool
    recorded: Callable[[bool], None]


class IndexEntry(msgspec.Struct, frozen=True):
    """One consumed delivery, with the handlers that it was given to."""

    epoch: int
    record: Record
    handlers: tuple[str, ...]
    elements: int
    recorded: Callable[[bool], None]


class BacklogEntry(msgspec.Struct, frozen=True):
    """A pair that is parked unrun, unless it is recorded already: then `known` is called before `recorded`."""

    epoch: int
    record: Record
    pair: Pair
    outcome: Parked
    known: Callable[[], None]
    recorded: Callable[[bool], None]


class ReleaseEntry(msgspec.Struct, frozen=True):
    """The head of a line may be due now: what it waited behind, in memory, has ended."""

    epoch: int
    record: Record
    handler: str

    def recorded(self, ours: bool) -> None:  # noqa: FBT001 -- as the others'
        """Do nothing: nobody waits for it."""


Entry = PairEntry | IndexEntry | BacklogEntry | ReleaseEntry

MOST_ENTRIES = 1000
MOST_BYTES = 16 * 1024 * 1024
"""Of bodies in a batch: a statement is built in memory, here and in Postgres, which takes none of a gigabyte."""


def take_batch(buffer: deque[Entry]) -> list[Entry]:
    """Take the first entries out of `buffer`: at least one, few and small enough for a flush.

    What one run did for many pairs stays together: a crash between two flushes would leave its leader to run after it.
    """
    batch: list[Entry] = []
    size = 0
    while buffer:
        size += _body_bytes(buffer[0])
        is_full = len(batch) >= MOST_ENTRIES or size > MOST_BYTES
        if batch and is_full and (_done_line(buffer[0]) is None or _done_line(buffer[0]) != _done_line(batch[-1])):
            break
        batch.append(buffer.popleft())
    return batch


def _body_bytes(entry: Entry) -> int:
    is_held = isinstance(entry, BacklogEntry) or (
        isinstance(entry, PairEntry) and isinstance(entry.outcome, Parked | Dead)
    )
    return len(entry.record.body) if is_held else 0


def _done_line(entry: Entry) -> Line | None:
    """Return the line of a pair that is done: one run's pairs are of one, and come one after the other."""
    if isinstance(entry, PairEntry) and isinstance(entry.outcome, Done):
        return entry.record.line(entry.pair.handler)
    return None


def without_texts(entry: Entry) -> Entry | None:
    """Return a pair's entry without what errors said and which calls were made; None where it has neither."""
    if not isinstance(entry, PairEntry):
        return None
    before = entry.outcome.history
    failures = tuple(msgspec.structs.replace(failure, message="") for failure in before.failures)
    history = History(before.attempts, failures)
    if history == before:
        return None
    return msgspec.structs.replace(entry, outcome=msgspec.structs.replace(entry.outcome, history=history))


_KEY = ("apps", "tenants", "deliveries", "runs")
_PAIR = (*_KEY, "handlers", "elements")


def _columns(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Columns:
    columns: Columns = {name: [] for name in names}
    for row in rows:
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
    return columns


def _json(items: tuple[Any, ...]) -> str:
    return msgspec.json.encode(kept(items)).decode()


def _pair(entry: PairEntry | BacklogEntry) -> tuple[Any, ...]:
    return msgspec.structs.astuple(entry.pair)


def _history(history: History) -> tuple[Any, ...]:
    return (history.attempts, _json(history.failures), _json(history.calls))


def of_deliveries(entries: Iterable[IndexEntry]) -> Columns:
    """Columns of `add_deliveries`."""
    names = (
        "received_ats", "apps", "ids", "runs", "types", "tenants", "entities", "topics", "partitions", "offsets",
        "reasons", "handlers", "elements",
    )  # fmt: skip
    return _columns(
        names,
        (
            (
                e.record.envelope.received_at,
                e.record.envelope.app,
                e.record.envelope.id,
                e.record.run,
                e.record.envelope.type,
                e.record.envelope.tenant,
                e.record.envelope.entity,
                e.record.topic,
                e.record.partition,
                e.record.offset,
                e.record.envelope.reason,
                "\n".join(e.handlers) if e.handlers else "",
                e.elements,
            )
            for e in entries
        ),
    )


def of_done(entries: Iterable[PairEntry]) -> Columns:
    """Columns of `add_done`."""
    return _columns(
        ("ats", *_PAIR, "attempts", "calls"),
        (
            (e.outcome.at, *_pair(e), e.outcome.history.attempts, _json(e.outcome.history.calls))
            for e in entries
            if isinstance(e.outcome, Done)
        ),
    )


def of_held(entries: Iterable[PairEntry | BacklogEntry]) -> Columns:
    """Columns of `add_held`: each delivery with parked or dead pairs once."""
    records = {_pair(e)[:4]: e for e in entries}
    return _columns(
        (*_KEY, "topics", "partitions", "offsets", "headers", "bodies", "ats"),
        (
            (
                *key,
                e.record.topic,
                e.record.partition,
                e.record.offset,
                msgspec.msgpack.encode(e.record.headers),
                e.record.body,
                e.outcome.at,
            )
            for key, e in records.items()
        ),
    )


def of_parked(entries: Iterable[PairEntry | BacklogEntry]) -> Columns:
    """Columns of `add_parked` and `add_backlog`, `group_id` aside."""
    names = (
        "ats", *_PAIR, "topics", "partitions", "offsets", "entities", "types", "reasons", "due_ats", "attempts",
        "errors", "calls",
    )  # fmt: skip
    return _columns(
        names,
        (
            (
                e.outcome.at,
                *_pair(e),
                e.record.topic,
                e.record.partition,
                e.record.offset,
                e.record.entity,
                e.record.envelope.type,
                e.outcome.reason,
                e.outcome.due_at,
                *_history(e.outcome.history),
            )
            for e in entries
            if isinstance(e.outcome, Parked)
        ),
    )


def of_dead(entries: Iterable[PairEntry]) -> Columns:
    """Columns of `add_dead`, `group_id` aside."""
    names = (
        "ats", *_PAIR, "topics", "partitions", "offsets", "entities", "types", "attempts", "errors", "calls",
    )  # fmt: skip
    return _columns(
        names,
        (
            (
                e.outcome.at,
                *_pair(e),
                e.record.topic,
                e.record.partition,
                e.record.offset,
                e.record.entity,
                e.record.envelope.type,
                *_history(e.outcome.history),
            )
            for e in entries
            if isinstance(e.outcome, Dead)
        ),
    )


def of_pairs(entries: Iterable[PairEntry]) -> Columns:
    """Columns of `remove_parked`: the keys of pairs."""
    return pair_columns([e.pair for e in entries])


def of_keys(entries: Iterable[PairEntry | BacklogEntry]) -> Columns:
    """Columns of `remove_held`: the keys of deliveries, each once."""
    return _columns(_KEY, {_pair(e)[:4] for e in entries})


def of_lines(entries: Iterable[PairEntry | ReleaseEntry]) -> Columns:
    """Columns of `release_lines`: the lines of pairs, each once."""
    lines = {
        (e.record.partition, line.app, line.tenant, line.topic, line.entity, line.handler, line.run)
        for e in entries
        for line in (e.record.line(e.pair.handler if isinstance(e, PairEntry) else e.handler),)
    }
    return _columns(("partitions", "apps", "tenants", "topics", "entities", "handlers", "runs"), lines)
