"""`levelgate status`."""

from datetime import UTC, datetime

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table


@click.command(
    epilog=example(
        """
levelgate status
levelgate status --json
"""
    )
)
@json_option
def command(*, as_json: bool) -> None:
    """Show what of the local stack runs, on which ports, and where its logs are."""
    from levelgate.cli.local_stack import running_stacks
    from levelgate.cli.output import Reporter

    parts = [
        {
            "part": part.name,
            "mode": stack.mode,
            "pid": part.pid or None,
            "ports": part.ports,
            "started_at": datetime.fromtimestamp(part.started_at, UTC) if part.started_at else None,
            "log": part.log,
        }
        for stack in running_stacks(Reporter())
        for part in stack.status()
    ]
    if as_json:
        print_json(parts)
        return
    columns = ("part", "mode", "pid", "ports", "started_at", "log")
    print_table(
        [column.replace("_", " ") for column in columns],
        [[part[column] for column in columns] for part in parts],
        empty="nothing runs: `levelgate up` or `levelgate run-local` start it",
    )
