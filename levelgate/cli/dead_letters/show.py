"""`levelgate dead show DELIVERY_ID`."""

from typing import Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json, print_table
from schemas.errors import LevelgateError


@click.command(
    "show",
    epilog=example(
        """
levelgate dead show 6f0c1d2e-3a4b-4596-8778-695a00000001
levelgate dead show 6f0c1d2e-3a4b-4596-8778-695a00000001 --handler my_app.handlers.greet --body
"""
    ),
)
@click.argument("delivery_id")
@click.option("--app", help="The app it was sent to, where several have a delivery of this id.")
@click.option("--handler", help="Only this handler's.")
@click.option("--body", "with_body", is_flag=True, help="Print the body too. It is your customers' data.")
@json_option
def command(*, delivery_id: str, app: str | None, handler: str | None, with_body: bool, as_json: bool) -> None:
    """Show all that is kept of one delivery's dead letters, one for each handler that gave up.

    Headers, every attempt's error and time (of many the first and last ten), and API calls. The body is customer
    data and shown with --body alone: mind where you paste it.
    """
    from levelgate.cli.connections import open_pool, run
    from processors.dead_letters import show_dead
    from schemas.settings import Settings

    async def read(settings: Settings) -> list[dict[str, Any]]:
        async with open_pool(settings) as pool:
            return await show_dead(pool, delivery_id, app=app, handler=handler)

    letters = run(read)
    if not letters:
        raise LevelgateError("no dead letter of this delivery: `levelgate trace` shows what became of it")
    for letter in letters:
        body = letter.pop("body")
        if with_body:
            letter["body"] = body.decode(errors="replace") if body is not None else None
    if as_json:
        print_json(letters)
        return
    for number, letter in enumerate(letters):
        if number:
            click.echo()
        _show(letter)
    if with_body:
        # One for all of a run's letters. Each run keeps its own, for as long as one of its letters may be redriven.
        for (of_app, run_), body in {(letter["app"], letter["run"]): letter["body"] for letter in letters}.items():
            click.echo(f"\nbody of app {of_app}'s delivery{_of_replay(run_)} (customer data):")
            click.echo(body if body is not None else "deleted: all its dead letters were discarded")


def _show(letter: dict[str, Any]) -> None:
    element = f", element {letter['element']}" if letter["element"] else ""
    of_replay = _of_replay(letter["run"])
    click.echo(f"{cell(letter['type'])} of app {letter['app']}, tenant {cell(letter['tenant'])}{of_replay}")
    click.echo(f"given up by {cell(letter['handler'])}{element} at {cell(letter['died_at'])}")
    click.echo(f"after {letter['attempts']} attempts since it was received or last redriven")
    if letter["discarded_at"]:
        click.echo(f"discarded at {cell(letter['discarded_at'])}: it will not run again")
    click.echo(f"from {letter['topic']}, partition {letter['partition']}, offset {letter['record_offset']}")
    click.echo(f"published on the dead letter topic at {cell(letter['published_at'])}\n")
    print_table(
        ("attempt ended", "error", "message"),
        [(each["at"], each["error"], each["message"]) for each in letter["errors"]],
        empty="no error is recorded",
    )
    click.echo()
    print_table(
        ("API call", "path", "status", "ms"),
        [(each["method"], each["path"], each["status"], round(each["ms"])) for each in letter["calls"]],
        empty="it made no API call",
    )
    click.echo()
    print_table(("header", "value"), letter["headers"] or (), empty="its headers were deleted with the body")


def _of_replay(run: str) -> str:
    return "" if run == "live" else f", replay {run}"
