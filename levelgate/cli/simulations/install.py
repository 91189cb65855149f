"""`levelgate simulate install`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option
from levelgate.cli.simulations.notice import send_notice


@click.command(
    epilog=example(
        """
levelgate simulate install --location LOC00000000000000777 --company Zp8dK1mWc6EoVu5JgNt2
levelgate simulate install --location LOC00000000000000777
"""
    )
)
@click.option("--location", metavar="ID", help="The location; without it the app is installed for the agency.")
@click.option("--company", metavar="ID", help="The agency; without it the demo's.")
@click.option("--app", help="The app to install; needed where the settings name several.")
@json_option
def command(*, location: str | None, company: str | None, app: str | None, as_json: bool) -> None:
    """Install an app on a location or for an agency, and send the INSTALL webhook.

    A location that is unknown is made. Its token comes by exchange, where the app is installed for its agency; to go
    through the consent page instead, open the install URL of `levelgate apps` in a browser.
    """
    send_notice("install", app=app, location=location, company=company, as_json=as_json)
