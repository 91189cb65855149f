"""`levelgate run-local`: what `make run-local` runs."""

import asyncio
import sys
import time

import click

from levelgate.cli.lazy import example
from levelgate.cli.mode import mode_options
from levelgate.cli.output import json_option, print_json


@click.command(
    name="run-local",
    epilog=example(
        """
levelgate run-local
levelgate run-local --native --once
RUN_LOCAL=compose levelgate run-local
"""
    ),
)
@mode_options
@click.option("--once", is_flag=True, help="Stop everything after the summary; exit 1 unless all was handled.")
@json_option
def command(*, mode: str | None, once: bool, as_json: bool) -> None:
    """Start everything on this machine, run the demo, and stay up until Ctrl-C, which stops all of it.

    Starts Kafka, Postgres, the simulated HighLevel, the receiver and a worker: in containers where a Docker engine
    answers, else as processes. Then installs the demo app through the real OAuth redirects, sends every documented
    sample event as a signed webhook, follows each to its end, and prints what became of them.

    The second start finds its data, installs nothing anew, and sends the samples as new deliveries.
    """
    import logging

    from levelgate.cli.demo.run import run_demo
    from levelgate.cli.demo.summary import command_here, show, show_next
    from levelgate.cli.local_settings import demo_app, overshadowing
    from levelgate.cli.local_stack import choose_stack
    from levelgate.cli.output import Reporter
    from schemas.logs import configure_logs
    from schemas.settings import Log

    configure_logs(Log(level="warning"))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    began = time.monotonic()
    reporter = Reporter()
    if notice := overshadowing():
        reporter.say(notice)
    stack = choose_stack(mode, reporter)
    all_good = False
    with stack.foreground():
        settings = stack.up()
        summary = asyncio.run(run_demo(settings, demo_app(settings), stack.mode, reporter, began=began))
        all_good = summary.is_good
        if as_json:
            print_json(summary)
        else:
            show(summary)
        if not once:
            if not as_json:
                show_next(summary, command_here())
                click.echo("Everything stays up until Ctrl-C.")
            all_good = True
            stack.watch()
    if not all_good:
        sys.exit(1)
