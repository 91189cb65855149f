"""What `replay plan` and `replay start` share: by what they choose, and the plan that both make and show."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from levelgate.cli.output import Reporter, cell, print_json, print_table
from levelgate.cli.pairs import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from processors.registry import Handler
    from processors.replays.cursor import Cursor, Gap
    from processors.replays.plan import Plan
    from processors.replays.selection import OffsetRange, Selection
    from processors.sql import Pool
    from schemas.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 10


class Offsets(click.ParamType["OffsetRange"]):
    """Offsets of one partition: `contact:3:100-250`."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "OffsetRange":  # noqa: ANN401 -- click's own
        """Return the range; click calls this."""
        from processors.replays.selection import OffsetRange

        try:
            return OffsetRange.of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def selection_options(command: Command) -> Command:
    """Give a command the options by which a replay's events are chosen; it gets them as `selection`."""

    @wraps(command)
    def selecting(
        *,
        source: Any,  # noqa: ANN401 -- one of the choices
        since: "datetime | None",
        until: "datetime | None",
        limit: int | None,
        everything: bool,
        **rest: Any,  # noqa: ANN401 -- the command's own
    ) -> Any:  # noqa: ANN401 -- what the command returns
        from processors.replays.selection import Selection

        _check_times(since, until)
        many = {name: tuple(rest.pop(name)) for name in _MANY}
        selection = Selection(source=source, since=since, until=until, limit=limit, **many)
        if selection.offsets and source == "dead":
            raise click.UsageError("--offsets are of topics: dead letters have none")
        if selection.is_empty != everything:
            raise click.UsageError(
                "--all and a filter contradict" if everything else "say which: a time, a filter, or --all"
            )
        return command(selection=selection, **rest)

    given: Any = selecting
    for option in reversed(_OPTIONS):
        given = option(given)
    return given  # type: ignore[no-any-return]


def _check_times(since: "datetime | None", until: "datetime | None") -> None:
    """Raise UsageError for times between which nothing can be, or with which nothing can be reckoned."""
    from datetime import MAXYEAR, MINYEAR, UTC, datetime

    for option, moment in (("--since", since), ("--until", until)):
        if moment is not None and moment.year in {MINYEAR, MAXYEAR}:
            raise click.UsageError(f"{option} is beyond all times: leave it away where there is no such bound")
    if since is not None and since >= (until or datetime.now(UTC)):
        raise click.UsageError("--since is not before --until" if until else "--since is not in the past")


not_tenant_option = click.option(
    "--not-tenant", "not_tenants", multiple=True, help="Leave this location or company out."
)

_MANY = ("offsets", "types", "tenants", "not_tenants", "entities", "apps", "handlers", "deliveries")

_OPTIONS = [
    click.option(
        "--from",
        "source",
        type=click.Choice(["topics", "dead"]),
        default="topics",
        show_default=True,
        help="From the event topics, or from the dead letters (each for the handler that gave up).",
    ),
    click.option("--since", type=Moment(), help="Received at this time or later: ISO, or how long ago (30m, 2h, 3d)."),
    click.option("--until", type=Moment(), help="Received before this time."),
    click.option(
        "--offsets",
        type=Offsets(),
        multiple=True,
        metavar="FAMILY:PARTITION:FIRST[-LAST]",
        help="Only these offsets of a topic, LAST included.",
    ),
    click.option("--type", "types", multiple=True, help="Only this event type, by its wire name."),
    click.option("--tenant", "tenants", multiple=True, help="Only this location or company."),
    not_tenant_option,
    click.option("--entity", "entities", multiple=True, help="Only this entity, by its id."),
    click.option("--app", "apps", multiple=True, help="Only this app."),
    click.option("--handler", "handlers", multiple=True, help="Run only this handler, on the types that it takes."),
    click.option("--delivery", "deliveries", multiple=True, help="Only this delivery, by its id."),
    click.option("--limit", type=click.IntRange(min=1), help="At most so many."),
    click.option("--all", "everything", is_flag=True, help="All that is kept; needed where nothing else chooses."),
]


def rate_option(*, default: float | None) -> Callable[[Command], Command]:
    """Return what gives a command the option `--rate`."""
    return click.option(
        "--rate",
        type=click.FloatRange(min=0, min_open=True, max=100_000),
        default=default,
        show_default=default is not None,
        help="Deliveries a second, at most.",
    )


def source_errors(settings: "Settings", selection: "Selection") -> AbstractContextManager[None]:
    """Return what tells the trouble of a selection's source: Kafka's; that of dead letters `open_pool` tells."""
    from levelgate.cli.connections import kafka_errors

    return nullcontext() if selection.source == "dead" else kafka_errors(settings.kafka)


def in_full(selection: "Selection", handlers: "Collection[Handler]") -> "Selection":
    """Return a selection as `resolved` does; say first what may be wrong with its names."""
    from levelgate.cli.replays.hints import hints
    from processors.replays.selection import resolved

    for hint in hints(selection, handlers):
        Reporter().say(hint)
    return resolved(selection, handlers)


def make_plan(selection: "Selection", rate: float) -> "tuple[Selection, Cursor, Plan]":
    """Read through what is chosen, and estimate; return the selection in full, where it begins, and the plan."""
    from levelgate.cli.connections import open_pool, run
    from processors.handlers import built_in
    from processors.registry import load_registry
    from processors.replays import plan
    from processors.replays.reading import selected
    from schemas.settings import load_settings

    configured = load_settings()
    registry = load_registry(configured.handlers, built_in(configured))
    chosen = in_full(selection, registry.handlers)

    async def make(settings: "Settings") -> "tuple[Selection, Cursor, Plan]":
        async with open_pool(settings) as pool:
            calls = await plan.recent_calls(pool)
            if calls is None:
                Reporter().say("the database did not tell in time how many API calls runs take: one each is assumed")
            with source_errors(settings, chosen):
                cursor, gaps = await beginning(settings, pool, chosen)
                with Reporter().progress("events that fit", None) as advance:
                    counts = await plan.count(selected(settings, pool, chosen, cursor), advance)
        made = plan.estimate(counts, registry, calls or {}, rate=rate, vendor=settings.vendor, gaps=gaps)
        return chosen, cursor, made

    return run(make)


async def beginning(settings: "Settings", pool: "Pool", selection: "Selection") -> "tuple[Cursor, list[Gap]]":
    """Return where to begin to read, and where retention has taken something. Raises UsageError, else as `frozen`."""
    from processors.replays.reading import frozen
    from processors.replays.topics import NoSuchPartition

    try:
        return await frozen(settings, pool, selection)
    except NoSuchPartition as error:
        raise click.UsageError(str(error)) from None


def show_plan(plan: "Plan", *, as_json: bool) -> None:
    """Print a plan: by type and tenant, then calls and time, then what to mind."""
    if as_json:
        print_json(plan)
        return
    if not plan.total:
        click.echo("\n".join(told(plan)))
        return
    types = [list(each) for each in plan.by_type.items()]
    print_table(("type", "events"), [*_top(types), ["all", plan.total]], empty="", totals=True)
    tenants = [[each.app, each.tenant, each.deliveries, each.api_calls] for each in plan.by_tenant]
    print_table(
        ("app", "tenant", "events", "API calls"),
        [*_top(tenants), ["all", None, plan.total, plan.api_calls]],
        empty="",
        totals=True,
    )
    for line in told(plan):
        click.echo(line)


def _top(rows: list[list[Any]]) -> list[list[Any]]:
    """Return the first rows, and the rest of them summed up in one."""
    if len(rows) <= _SHOWN:
        return rows
    rest = rows[_SHOWN:]
    sums = [sum(column) if isinstance(column[0], int) else None for column in zip(*rest, strict=True)]
    return [*rows[:_SHOWN], [f"{len(rest)} more", *sums[1:]]]


_BOUND = {
    "rate": "the rate",
    "room": "how many may be before the workers at a time",
    "budget": "the busiest tenant's share of the API budget",
}


def told(plan: "Plan") -> list[str]:
    """Return the calls and the time that a plan comes to, and what to mind of it: a sentence each."""
    if not plan.total:
        return ["no event fits", *map(gap_sentence, plan.gaps)]
    cut = [each.handler for each in plan.handlers if each.is_at_least]
    about = "at least" if cut else "about"
    lines = [f"{about} {plan.api_calls} API calls and {span(plan.duration_s)}, by {_BOUND[plan.bound_by]}"]
    if cut:
        lines.append(f"some runs of {', '.join(cut)} take as many API calls as are recorded of one, or more")
    assumed = [each.handler for each in plan.handlers if not each.is_measured]
    if assumed:
        lines.append(f"one API call a run is assumed of {', '.join(assumed)}: of the last day's, none was looked at")
    if plan.without_handler:
        lines.append(f"{plan.without_handler} of them no handler here takes: they are published and nothing runs")
    if plan.over_day_share:
        who = ", ".join(f"{e.tenant} ({e.api_calls}: {span(e.duration_s)})" for e in plan.over_day_share[:_SHOWN])
        more = f" and {len(plan.over_day_share) - _SHOWN} more" if len(plan.over_day_share) > _SHOWN else ""
        lines.append(
            f"MORE API CALLS THAN A DAY'S SHARE of replays, {plan.day_share}, for {who}{more}: what is over it waits "
            "for the next day, live events don't"
        )
    return lines + [gap_sentence(each) for each in plan.gaps]


def gap_sentence(gap: "Gap") -> str:
    """Say what retention took of what was chosen."""
    since = f"what was received before {cell(gap.kept_from)}" if gap.kept_from else "what was before it"
    return f"{gap.topic}, partition {gap.partition} begins at offset {gap.first_offset}: {since} is gone"


def span(seconds: float) -> str:
    """Return a duration as a person says it: 45 s, 12 min, 3.5 h, 2.1 d."""
    for unit, size, digits in (("d", 86_400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
