"""`levelgate replay start`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json
from levelgate.cli.replays.choosing import make_plan, rate_option, selection_options, show_plan
from levelgate.cli.replays.running import DEFAULT_RATE, begin, publish

if TYPE_CHECKING:
    from processors.replays.selection import Selection


@click.command(
    "start",
    epilog=example(
        """
levelgate replay start --since 3h --until 2h --type ContactUpdate --type ContactCreate
levelgate replay start --from dead --handler my_app.handlers.greet --rate 20
levelgate replay start --since 2026-11-23 --tenant ve9EPM428h8vShlRW1KT --handler my_app.handlers.greet --yes
"""
    ),
)
@selection_options
@rate_option(default=DEFAULT_RATE)
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
def command(*, selection: "Selection", rate: float, yes: bool, as_json: bool) -> None:
    """Run events of the past again: show the plan, ask, then publish them to the workers' replay lane.

    Stays in the foreground until all is published. Ctrl-C, `replay pause` or a crash leave it resumable: `replay
    resume` goes on where it was. The once-ledger is per replay: what was done runs again, once in each replay. Live
    work goes first: a replay has at most a quarter of a worker's places, and no more than 2,000 of its events wait for
    them.

    Options choose as in `replay plan`.
    """
    chosen, cursor, plan = make_plan(selection, rate)
    if not as_json:
        show_plan(plan, as_json=False)
    if not plan.total:
        print_json(None) if as_json else click.echo("nothing was started")
        return
    if not yes:
        click.confirm(f"Run these {plan.total} again?", abort=True, err=True)
    publish(begin(chosen, cursor, rate, plan.total), as_json=as_json)
