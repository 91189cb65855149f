"""`levelgate check`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json


@click.command(
    epilog=example(
        """
levelgate check
levelgate check --json
LEVELGATE_CONFIG=/etc/levelgate/levelgate.toml levelgate check
"""
    )
)
@json_option
def command(*, as_json: bool) -> None:
    """Check settings and connections, and print a fix for each fault. Exits with 1 where there is one.

    Settings come from, the strongest first: environment variables (LEVELGATE_DATABASE_URL; groups joined by two
    underscores, as in LEVELGATE_KAFKA__BOOTSTRAP_SERVERS); a folder of secret files, named by LEVELGATE_SECRETS_DIR;
    a TOML file: the one that LEVELGATE_CONFIG names, else levelgate.toml, else the local stack's
    .levelgate/levelgate.toml. Secrets are shown masked.
    """
    from levelgate.cli.checks import Check, check_all, masked
    from levelgate.cli.connections import run
    from schemas.settings import Settings, config_file

    async def check(settings: Settings) -> tuple[Settings, list[Check]]:
        return settings, await check_all(settings)

    settings, checks = run(check)
    faults = [each for each in checks if not each.ok]
    if as_json:
        print_json({"settings": masked(settings), "checks": checks, "ok": not faults})
    else:
        click.echo(f"settings, over the defaults: environment, then {config_file() or 'no file'}")
        for name, value in _flat(masked(settings)):
            click.echo(f"  {name} = {value}")
        click.echo()
        for each in checks:
            click.echo(f"{'ok   ' if each.ok else 'FAULT'} {each.name}: {each.found}")
            if not each.ok:
                click.echo(f"      fix: {each.fix}")
    if faults:
        raise SystemExit(1)


def _flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [(prefix, str(value))]
    return [line for name, inner in value.items() for line in _flat(inner, f"{prefix}.{name}" if prefix else name)]
