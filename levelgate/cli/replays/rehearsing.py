"""Behind `replay start --dry-run` and `--compare`: handlers run on the chosen events, and nothing comes of it.

Imported where a command is called, not to list it: it needs all of what a worker does.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

import click
import msgspec
from prometheus_client import CollectorRegistry

from levelgate.cli.connections import open_pool, run
from levelgate.cli.output import Reporter, print_json, print_line, print_table
from levelgate.cli.replays.choosing import beginning, gap_sentence, in_full, source_errors
from levelgate.cli.replays.rehearsal_options import RehearsalOptions
from levelgate.cli.replays.rehearsal_report import ComparisonReport, DryRunReport
from levelgate.highlevel.client import HighLevelClient
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.tokens import TokenStore
from levelgate.highlevel.wire import open_session
from processors.handlers import built_in
from processors.pairs import Record
from processors.registry import Registry, load_registry
from processors.rehearsal import Rehearsal, in_order
from processors.rehearsed_calls import Reads
from processors.replays.reading import selected
from processors.replays.selection import Selection
from processors.sql import Pool
from schemas.errors import LevelgateError
from schemas.metrics import ApiMetrics
from schemas.settings import Settings, load_settings, parse_token_keys

Told_contra = TypeVar("Told_contra", contravariant=True)


def rehearse_selection(selection: Selection, options: RehearsalOptions, *, as_json: bool) -> bool:
    """Rehearse what a replay of `selection` would run; returns and raises as `rehearse` does."""
    handlers = _running_handlers(load_settings(), () if options.compares else options.modules).handlers
    chosen = in_full(selection, handlers)

    async def act(settings: Settings) -> bool:
        async with open_pool(settings) as pool:
            return await rehearse(settings, _read(settings, pool, chosen), options, as_json=as_json)

    return run(act)


async def _read(settings: Settings, pool: Pool, selection: Selection) -> AsyncGenerator[Record, None]:
    with source_errors(settings, selection):
        cursor, gaps = await beginning(settings, pool, selection)
        for gap in gaps:
            Reporter().say(gap_sentence(gap))
        async with aclosing(selected(settings, pool, selection, cursor)) as records:
            async for record in records:
                yield record


async def rehearse(
    settings: Settings,
    records: AsyncIterable[Record],
    options: RehearsalOptions,
    *,
    as_json: bool,
) -> bool:
    """Rehearse handlers on `records` and print what they would do, or where two versions of them differ.

    Returns False where a comparison found a difference, or nothing to compare.
    Raises Misconfigured for modules that can't be used, and what the connections raise.
    """
    work = _compare if options.compares else _dry_run
    return await work(settings, records, options, as_json=as_json)


async def _dry_run(
    settings: Settings,
    records: AsyncIterable[Record],
    options: RehearsalOptions,
    *,
    as_json: bool,
) -> bool:
    registry = await asyncio.to_thread(_running_handlers, settings, options.modules)
    report = DryRunReport(with_body=options.with_body)
    async with _open(settings, allow_reads=options.allow_reads) as (rehearsal, at_once):
        with _teller(report, "events rehearsed", as_json=as_json) as told:
            await in_order(records, lambda record: rehearsal.rehearse(record, registry), told, at_once=at_once)
        summary = report.summary(rehearsal.reads)
    if as_json:
        print_json({"summary": summary})
    else:
        _tell_dry_run(summary)
    return True


async def _compare(
    settings: Settings,
    records: AsyncIterable[Record],
    options: RehearsalOptions,
    *,
    as_json: bool,
) -> bool:
    old, new = await asyncio.to_thread(_both_versions, settings, options.modules)
    report = ComparisonReport(with_body=options.with_body)
    async with _open(settings, allow_reads=options.allow_reads) as (rehearsal, at_once):
        with _teller(report, "events compared", as_json=as_json) as told:
            await in_order(records, lambda record: rehearsal.compare(record, old, new), told, at_once=at_once)
    if as_json:
        print_json({"summary": report.summary()})
    else:
        _tell_comparison(report.summary())
    return report.is_equal


class _Report(Protocol[Told_contra]):
    """What tells events one by one, and counts them."""

    @property
    def events(self) -> int: ...
    def count(self, event: Told_contra) -> None: ...
    def as_json(self, event: Told_contra) -> Iterator[dict[str, Any]]: ...
    def lines(self, event: Told_contra) -> Iterator[str]: ...


@contextmanager
def _teller(report: _Report[Told_contra], text: str, *, as_json: bool) -> Iterator[Callable[[Told_contra], None]]:
    """Yield what counts an event and prints it, above a bar that shows how many there were."""
    with Reporter().progress(text, None) as advance:

        def told(event: Told_contra) -> None:
            report.count(event)
            _print(report.as_json(event) if as_json else report.lines(event), as_json=as_json)
            advance(report.events)

        yield told


@asynccontextmanager
async def _open(settings: Settings, *, allow_reads: bool) -> AsyncIterator[tuple[Rehearsal, int]]:
    """Yield a rehearsal, and for how many events at a time its database has connections."""
    async with open_pool(settings) as stages, open_session() as session:
        if not allow_reads:
            yield Rehearsal(stages, session, settings, None), stages.get_max_size()
            return
        # Tokens have a pool of their own: a refreshed one must be kept, and no run may wait for another's connection.
        async with open_pool(settings) as pool:
            metrics = ApiMetrics(CollectorRegistry())
            tokens = TokenStore(pool, KeyRing(parse_token_keys(settings.token_keys)), session, settings, metrics)
            try:
                reads = Reads(HighLevelClient(session, settings.vendor, tokens, metrics))
                yield Rehearsal(stages, session, settings, reads), stages.get_max_size()
            finally:
                await tokens.aclose()


def _running_handlers(settings: Settings, modules: tuple[str, ...]) -> Registry:
    """Load what workers run, or the given modules instead."""
    if modules:
        return load_registry(modules, ())
    return load_registry(settings.handlers, built_in(settings))


def _both_versions(settings: Settings, modules: tuple[str, ...]) -> tuple[Registry, Registry]:
    """Load your handlers as they run, and their new version; built-in ones have no other."""
    if not settings.handlers:
        raise LevelgateError("there is nothing to compare with: LEVELGATE_HANDLERS names no module")
    return load_registry(settings.handlers, ()), load_registry(modules, ())


def _print(told: Iterable[Any], *, as_json: bool) -> None:
    for each in told:
        print_line(msgspec.json.encode(each).decode() if as_json else each)


def _tell_dry_run(summary: dict[str, Any]) -> None:
    pairs, reads = summary["pairs"], summary["reads"]
    click.echo(
        f"\n{summary['events']} events, {summary['events_without_handler']} of them without a handler\n"
        f"runs: {pairs['done']} done, {pairs['would_retry']} would retry, {pairs['would_be_dead']} would be dead\n"
        f"reads: {reads['made']} made, {reads['answered_from_memory']} from memory, {reads['not_made']} not made\n"
    )
    print_table(
        ("calls that would be made", "times"), list(summary["writes"].items()), empty="no call would change anything"
    )
    _hint(summary)


def _tell_comparison(summary: dict[str, Any]) -> None:
    calls, statements = summary["calls"], summary["statements"]
    click.echo(
        f"\n{summary['events']} events: {summary['equal']} equal, {summary['different']} different, "
        f"{summary['events_without_handler']} without a handler\n"
        f"calls of the API: {_counted(calls)}\n"
        f"statements on the database: {_counted(statements)}\n"
        f"events that fail differently: {summary['fail_differently']}\n"
    )
    print_table(
        ("type", "equal", "different"),
        [(wire, counts["equal"], counts["different"]) for wire, counts in summary["by_type"].items()],
        empty="nothing was compared: "
        + ("no chosen event has a handler in either version" if summary["events"] else "no event was chosen"),
    )
    if summary["by_type"] and not any((*calls.values(), *statements.values())):
        click.echo("\nneither version made a call or ran a statement: all that was compared is how their runs end")
    _hint(summary)


def _counted(acts: dict[str, int]) -> str:
    found = f"{acts['only_old']} only old, {acts['only_new']} only new, {acts['changed']} changed"
    return f"{acts['old']} old, {acts['new']} new: {found}"


def _hint(summary: dict[str, Any]) -> None:
    if summary["failed_after_unmade_read"]:
        click.echo(
            f"\n{summary['failed_after_unmade_read']} runs failed after a read that was not made, which was answered "
            "by an empty object: --allow-reads tells how they really end"
        )
