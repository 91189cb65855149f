"""`levelgate simulate uninstall`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option
from levelgate.cli.simulations.notice import send_notice


@click.command(
    epilog=example(
        """
levelgate simulate uninstall --location LOC00000000000000777
levelgate simulate uninstall --company Zp8dK1mWc6EoVu5JgNt2
"""
    )
)
@click.option("--location", metavar="ID", help="The location to remove the app from.")
@click.option("--company", metavar="ID", help="The agency to remove the app from, and from all its locations.")
@click.option("--app", help="The app to remove; needed where the settings name several.")
@json_option
def command(*, location: str | None, company: str | None, app: str | None, as_json: bool) -> None:
    """Remove an app from a location or an agency, end its tokens, and send the UNINSTALL webhook."""
    if not location and not company:
        raise click.UsageError("name a --location or a --company")
    send_notice("uninstall", app=app, location=location, company=company, as_json=as_json)
