"""`levelgate replay plan`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option
from levelgate.cli.replays.choosing import make_plan, rate_option, selection_options, show_plan
from levelgate.cli.replays.running import DEFAULT_RATE

if TYPE_CHECKING:
    from processors.replays.selection import Selection


@click.command(
    "plan",
    epilog=example(
        """
levelgate replay plan --since 3h --until 2h --type ContactUpdate
levelgate replay plan --from dead --handler my_app.handlers.greet --json
levelgate replay plan --offsets contact:3:1200-1500 --tenant ve9EPM428h8vShlRW1KT
"""
    ),
)
@selection_options
@rate_option(default=DEFAULT_RATE)
@json_option
def command(*, selection: "Selection", rate: float, as_json: bool) -> None:
    """Count what a replay would run, by type and tenant, and estimate API calls and time. Changes nothing.

    Filters that are set must all fit; an option given more than once means any of its values. The estimate takes each
    handler's average of API calls over the last day, and for the busiest tenant a quarter of its API budget.
    """
    _, _, plan = make_plan(selection, rate)
    show_plan(plan, as_json=as_json)
