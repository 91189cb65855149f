"""`levelgate installs list`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from schemas.ids import AppName

_SHOWN = ("app", "tenant", "level", "company", "state", "expires_at", "installed_at")


@click.group(name="installs")
def command() -> None:
    """Look at where the apps are installed."""


@command.command(
    "list",
    epilog=example(
        """
levelgate installs list
levelgate installs list --app demo --json
"""
    ),
)
@click.option("--app", help="Only this app's.")
@json_option
def list_(*, app: str | None, as_json: bool) -> None:
    """List every installation with its state; never a token.

    pending: known, no token yet · active · inactive: HighLevel says that the location is not active · broken: its
    refresh token was refused for good, it must be installed again · gone: uninstalled.
    """
    from levelgate.cli.connections import open_pool, run
    from levelgate.highlevel.installations import Installation
    from levelgate.highlevel.keyring import KeyRing
    from levelgate.highlevel.token_table import TokenTable
    from schemas.settings import Settings, parse_token_keys

    async def read(settings: Settings) -> list[Installation]:
        async with open_pool(settings) as pool:
            table = TokenTable(pool, KeyRing(parse_token_keys(settings.token_keys)))
            return await table.read_all(AppName(app) if app else None)

    installs = [
        {
            "app": row.app,
            "tenant": row.tenant,
            "level": row.level,
            "company": row.company,
            "state": row.state,
            "scopes": row.scopes,
            "expires_at": row.expires_at,
            "retry_at": row.retry_at,
            "installed_at": row.installed_at,
            "updated_at": row.updated_at,
        }
        for row in run(read)
    ]
    if as_json:
        print_json(installs)
        return
    print_table(
        [name.replace("_", " ") for name in _SHOWN],
        [[install[name] for name in _SHOWN] for install in installs],
        empty="no app is installed anywhere yet: `levelgate apps` shows where to begin",
    )
