"""`levelgate migrate`."""

import click

from levelgate.cli.lazy import example


@click.command(epilog=example("levelgate migrate"))
def command() -> None:
    """Bring the database's tables up to date.

    Applies the migrations that the database has not had yet, in order, each in a transaction of its own. Running it
    again does nothing. Receivers and workers of the version before may go on running meanwhile.
    """
    from levelgate.cli.connections import run
    from levelgate.migrations import migrate

    applied = run(
        lambda settings: migrate(
            settings.database_url.get_secret_value(), on_applied=lambda name: click.echo(f"applied {name}")
        )
    )
    if not applied:
        click.echo("nothing to apply: the tables are up to date")
