"""`levelgate budget show`."""

from typing import Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table

_COLUMNS = (
    "app",
    "tenant",
    "interval left",
    "full at",
    "day left",
    "until",
    "retries",
    "replays",
    "waiting",
    "told at",
)


@click.group(name="budget")
def command() -> None:
    """Look at the API calls that HighLevel allows."""


@command.command(
    epilog=example(
        """
levelgate budget show
levelgate budget show --app demo --tenant ve9EPM428h8vShlRW1KT --json
"""
    ),
)
@click.option("--app", help="Only this app's.")
@click.option("--tenant", help="Only this location's or company's.")
@json_option
def show(*, app: str | None, tenant: str | None, as_json: bool) -> None:
    """Show what is left of each tenant's API calls, as its worker last saved it, and how many pairs wait for them.

    Left of the interval and of the day, each with when that changes: "full at" is when all calls of an interval are
    free again, "until" how long HighLevel's word about the day holds. A "-" left of the day is unknown until the next
    call is answered; a "-" beside a number: HighLevel says nothing of the day, it is counted here over 24 hours.
    "retries" and "replays": what they spent of it in 24 hours.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.budgets import list_budgets
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await list_budgets(pool, app=app, tenant=tenant)

    budgets = run(read)
    if as_json:
        print_json(budgets)
        return
    print_table(
        _COLUMNS,
        [
            (
                b["app"],
                b["tenant"],
                f"{b['interval_left']} of {b['interval_limit']}",
                b["interval_until"],
                "-" if b["day_left"] is None else f"{b['day_left']} of {b['day_limit']}",
                b["day_until"],
                b["day_spent"]["retry"],
                b["day_spent"]["replay"],
                b["waiting"],
                b["told_at"],
            )
            for b in budgets
        ],
        empty="no worker has saved a budget yet: it does with the first API call that it makes for a tenant",
    )
