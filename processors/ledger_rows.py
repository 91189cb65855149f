"""From what became of pairs to the columns of the ledger's statements. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from processors.pairs import Dead, Done, History, Outcome, Pair, Parked, Record, kept

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
    pair = entry.pair
    return (pair.app, pair.tenant, pair.delivery, pair.run, pair.handler, pair.element)


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
    return _columns(_PAIR, (_pair(e) for e in entries))


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
