"""`levelgate worker`."""

import asyncio

import click

from levelgate.cli.lazy import example


@click.command(
    epilog=example(
        """
levelgate worker
LEVELGATE_HANDLERS=my_app.handlers levelgate worker
LEVELGATE_SYNC=false levelgate worker      without the mirror tables
"""
    )
)
def command() -> None:
    """Work off events, in the foreground.

    Runs the built-in handlers, which keep the mirror tables, and yours: the modules that LEVELGATE_HANDLERS names.
    Start as many workers as you like, up to the number of partitions. Stops in good order at Ctrl-C or SIGTERM.
    """
    from processors.handlers import built_in
    from processors.run import run_worker
    from schemas.logs import configure_logs
    from schemas.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log)
    asyncio.run(run_worker(settings, built_in(settings)))
