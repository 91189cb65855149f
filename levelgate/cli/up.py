"""`levelgate up`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.mode import mode_options


@click.command(
    epilog=example(
        """
levelgate up
levelgate up --native
levelgate status
"""
    )
)
@mode_options
def command(*, mode: str | None) -> None:
    """Start the local stack in the background: Kafka, Postgres, simulator, receiver, worker.

    In containers where a Docker engine answers, else as processes. What runs already is left alone. The first start
    writes the settings to .levelgate/levelgate.toml; data and logs stay in .levelgate, too.
    """
    from levelgate.cli.local_settings import overshadowing
    from levelgate.cli.local_stack import choose_stack
    from levelgate.cli.output import Reporter

    reporter = Reporter()
    if notice := overshadowing():
        reporter.say(notice)
    stack = choose_stack(mode, reporter)
    with stack.all_or_nothing():
        settings = stack.up()
    click.echo(f"The local stack is up ({stack.mode}). Receiver: {settings.receiver.public_url}")
    click.echo("`levelgate run-local` runs the demo on it, `levelgate down` stops it")
