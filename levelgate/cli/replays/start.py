"""`levelgate replay start`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import Reporter, json_option, print_json
from levelgate.cli.replays.choosing import make_plan, rate_option, selection_options, show_plan, told
from levelgate.cli.replays.rehearsal_options import RehearsalOptions, rehearsal_options
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
levelgate replay start --since 1h --type ContactUpdate --limit 100 --dry-run --allow-reads
levelgate replay start --since 1h --handlers my_app.new_handlers --compare
levelgate replay start --from dead --handler my_app.handlers.greet --handlers my_app.new_handlers --dry-run
"""
    ),
)
@selection_options
@rate_option(default=DEFAULT_RATE)
@click.option("--yes", is_flag=True, help="Don't ask.")
@rehearsal_options
@json_option
def command(*, selection: "Selection", rate: float, yes: bool, rehearsal: RehearsalOptions, as_json: bool) -> None:
    """Run events of the past again: show the plan, ask, then publish them to the workers' replay lane.

    Stays in the foreground until all is published. Ctrl-C, `replay pause` or a crash leave it resumable: `replay
    resume` goes on where it was. The once-ledger is per replay: what was done runs again, once in each replay. Live
    work goes first: a replay has at most a quarter of a worker's places, no more than 2,000 of its events wait for
    them, and no more than 10,000 of its pairs are parked.

    Options choose as in `replay plan`.

    With --dry-run nothing is published and nothing comes of it: the handlers run here, their writes are rolled back
    and their API calls only printed. --compare does so with your handlers and with --handlers MODULE, and prints where
    their calls, or their statements on the database, differ; it exits with 1 where they do, and where no handler ran:
    then nothing was compared.
    """
    if rehearsal.is_wanted:
        from levelgate.cli.replays.rehearsing import rehearse_selection

        if rehearsal.compares and selection.handlers and selection.source == "topics":
            raise click.UsageError("--compare and --handler contradict: choose by --type, both versions run whole")
        if not rehearse_selection(selection, rehearsal, as_json=as_json):
            click.get_current_context().exit(1)
        return
    chosen, cursor, plan = make_plan(selection, rate)
    if as_json:
        for line in told(plan):
            Reporter().say(line)
    else:
        show_plan(plan, as_json=False)
    if not plan.total:
        print_json(None) if as_json else click.echo("nothing was started")
        return
    if not yes:
        click.confirm(f"Run these {plan.total} again?", abort=True, err=True)
    publish(begin(chosen, cursor, rate, plan.total), as_json=as_json)
