"""`levelgate apps`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json


@click.command(
    epilog=example(
        """
levelgate apps
levelgate apps --json
"""
    )
)
@json_option
def command(*, as_json: bool) -> None:
    """List the apps of the settings, with the URLs to register in the marketplace."""
    from schemas.settings import load_settings

    settings = load_settings()
    base = settings.receiver.public_url
    apps = [
        {
            "app": name,
            "app_id": app.app_id,
            "level": app.level,
            "scopes": app.scopes,
            "rsa_until": app.rsa_until,
            "webhook_url": f"{base}/webhooks/{name}",
            "redirect_url": f"{base}/oauth/callback/{name}",
            "install_url": f"{base}/oauth/start/{name}",
            "conversation_provider": app.provider_secret is not None,
        }
        for name, app in sorted(settings.apps.items())
    ]
    if as_json:
        print_json(apps)
        return
    for app in apps:
        click.echo(app["app"])
        for field, value in app.items():
            if field != "app":
                click.echo(f"  {field.replace('_', ' '):22}{cell(value)}")
