"""`levelgate simulator`."""

import asyncio

import click

from levelgate.cli.lazy import example


@click.command(
    epilog=example(
        """
levelgate simulator
levelgate simulate --help        what it can be told to do
"""
    )
)
def command() -> None:
    """Run the simulated HighLevel, in the foreground.

    It has the consent page, tokens, the API with its limits, and sends signed webhooks to the receiver. What it knows
    stays in its data folder.
    """
    from levelgate.simulator.run import run_simulator
    from schemas.errors import Misconfigured
    from schemas.logs import configure_logs
    from schemas.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log)
    try:
        asyncio.run(run_simulator(settings))
    except OSError as error:
        raise Misconfigured(
            [f"the simulator can't listen on port {settings.simulator.port} or use its folder: {error.strerror}"]
        ) from None
