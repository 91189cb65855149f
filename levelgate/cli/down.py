"""`levelgate down`."""

import click

from levelgate.cli.lazy import example


@click.command(epilog=example("levelgate down"))
def command() -> None:
    """Stop the local stack, whoever started it. Its data stay for the next start."""
    from levelgate.cli.local_stack import running_stacks
    from levelgate.cli.output import Reporter

    stopped = [name for stack in running_stacks(Reporter()) for name in stack.down()]
    click.echo("the local stack has stopped" if stopped else "nothing was running")
