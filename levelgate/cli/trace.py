"""`levelgate trace DELIVERY_ID`."""

from typing import TYPE_CHECKING

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json, print_table
from schemas.errors import LevelgateError

if TYPE_CHECKING:
    from processors.deliveries import Trace


@click.command(
    epilog=example(
        """
levelgate trace 6f0c1d2e-3a4b-4596-8778-695a00000001
levelgate trace 6f0c1d2e-3a4b-4596-8778-695a00000001 --json
"""
    )
)
@click.argument("delivery_id")
@click.option("--app", help="The app it was sent to, where several have a delivery of this id.")
@json_option
def command(*, delivery_id: str, app: str | None, as_json: bool) -> None:
    """Show one delivery's way: received, published, handled, and which API calls that took; its replays' runs too.

    DELIVERY_ID is the `id` of the receiver's answer. A delivery that no worker has read yet is looked for in the
    topics' last 15 minutes, the newest first, and shown as accepted.
    """
    from levelgate.cli.connections import kafka_errors, open_pool, run
    from processors import deliveries
    from processors.recent import NotLookedThrough, find_recent
    from schemas.settings import Settings

    async def find(settings: Settings) -> "list[Trace]":
        recent, unknown = None, LevelgateError("unknown delivery")
        async with open_pool(settings) as pool:
            if found := await deliveries.trace(pool, delivery_id, app=app):
                return found
            try:
                with kafka_errors(settings.kafka):
                    recent = await find_recent(settings.kafka, settings.receiver.max_body_bytes, delivery_id, app=app)
            except NotLookedThrough as error:
                unknown = error
            # A worker may have read it between the two looks.
            if found := await deliveries.trace(pool, delivery_id, app=app) or ([recent] if recent else []):
                return found
        raise unknown

    found = run(find)
    if len(found) > 1:
        raise LevelgateError(f"several apps have this delivery: add --app {'|'.join(each.app for each in found)}")
    if as_json:
        print_json(found[0])
    else:
        _show(found[0])


def _show(trace: "Trace") -> None:
    click.echo(f"{cell(trace.type)} of app {trace.app}, tenant {cell(trace.tenant)}: {trace.state}")
    if trace.reason:
        click.echo(f"in quarantine: {trace.reason}")
    click.echo(f"received at {cell(trace.received_at)}")
    click.echo(f"published to {trace.topic}, partition {trace.partition}, offset {trace.offset}")
    if trace.state == "handled" and not trace.handlers:
        click.echo("no handler is registered for it")
    if pairs := trace.handlers + trace.replays:
        click.echo()
        print_table(
            ("handler", "element", "run", "state", "attempts", "last error"),
            [(each.name, each.element, each.run, each.state, each.attempts, each.last_error) for each in pairs],
            empty="",
        )
    if trace.api_calls:
        click.echo()
        print_table(
            ("API call", "path", "status", "ms"),
            [(call.method, call.path, call.status, round(call.ms)) for call in trace.api_calls],
            empty="",
        )
