"""`levelgate receiver`."""

import asyncio

import click

from levelgate.cli.lazy import example


@click.command(
    epilog=example(
        """
levelgate receiver
LEVELGATE_RECEIVER__PORT=8081 levelgate receiver
"""
    )
)
def command() -> None:
    """Receive webhooks and OAuth callbacks, in the foreground.

    Takes webhooks at /webhooks/APP, verifies their signatures and answers when Kafka has them. Installs begin at
    /oauth/start/APP. Stops in good order at Ctrl-C or SIGTERM. Metrics have a port of their own.
    """
    from ingest.run import run_receiver
    from schemas.logs import configure_logs
    from schemas.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log)
    asyncio.run(run_receiver(settings))
