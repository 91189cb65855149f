"""What `parked` and `dead …` share: their filters, and how a listed pair looks."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from processors.filters import PairFilter

Command = TypeVar("Command", bound=Callable[..., Any])

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time: ISO (of this machine's zone where it names none), or how long ago: `30m`, `2h`, `3d`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 -- click's own
        """Return the time, aware; click calls this."""
        text = str(value)
        try:
            if ago := _AGO.fullmatch(text):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no time: write 2026-11-24T03:00, or how long ago, as in 30m, 2h, 3d", param, ctx)


def pair_filters(command: Command) -> Command:
    """Give a command the arguments and options by which pairs are chosen; it gets them as `chosen`, a PairFilter."""

    @wraps(command)
    def filtered(**given: Any) -> Any:  # noqa: ANN401 -- the options below, the command's own, and what it returns
        from processors.filters import PairFilter

        chosen = PairFilter(**{name: given.pop(name) for name in PairFilter.__struct_fields__})
        return command(chosen=chosen, **given)

    options = [
        click.argument("deliveries", metavar="[DELIVERY_ID]...", nargs=-1),
        click.option("--app", help="Only this app's."),
        click.option("--type", help="Only this event type's, by its wire name."),
        click.option("--tenant", help="Only this location's or company's."),
        click.option("--handler", help="Only this handler's."),
        click.option("--error", metavar="CLASS", help="Only those whose last failure is of this class."),
        click.option("--run", metavar="live|REPLAY_ID", help="Only the live run's, or only those of this replay."),
        click.option("--since", type=Moment(), help="Only from this time on: ISO, or how long ago (30m, 2h, 3d)."),
        click.option("--until", type=Moment(), help="Only from before this time."),
    ]
    with_options: Any = filtered
    for option in reversed(options):
        with_options = option(with_options)
    return with_options  # type: ignore[no-any-return]


def limit_option(command: Command) -> Command:
    """Give a listing the option `--limit`."""
    option = click.option(
        "--limit", "most", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
    )
    return option(command)


def last_error(pair: dict[str, Any]) -> str | None:
    """Return the last of a pair's failures in one line."""
    errors = pair["errors"]
    return f"{errors[-1]['error']}: {errors[-1]['message']}" if errors else None


def is_empty(chosen: "PairFilter") -> bool:
    """Whether a filter lets every pair pass."""
    from processors.filters import ALL_PAIRS

    return chosen == ALL_PAIRS


def nothing(state: str, chosen: "PairFilter") -> str:
    """Return the sentence for pairs of a state (dead, parked) of which a filter lets none pass."""
    return f"nothing is {state}" if is_empty(chosen) else f"nothing is {state} that fits"
