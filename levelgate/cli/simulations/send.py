"""`levelgate simulate send FILE…`."""

from typing import IO, Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json
from schemas.errors import LevelgateError


@click.command(
    epilog=example(
        """
levelgate simulate samples --write samples
levelgate simulate send --fresh samples/ContactCreate-1.json
levelgate simulate send --event ContactCreate body.json
levelgate simulate send --scheme wrong body.json
"""
    )
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb"))
@click.option(
    "--scheme",
    type=click.Choice(["ed25519", "rsa", "none", "wrong"]),
    default="ed25519",
    show_default=True,
    help="How it is signed; wrong: with a good signature of another body.",
)
@click.option("--app", help="The app it is for; needed where the settings name several.")
@click.option("--event", metavar="NAME", help="The event to name in the path, for bodies without a `type`.")
@click.option("--fresh", is_flag=True, help="First set appId, webhookId and timestamp, as HighLevel does.")
@json_option
def command(
    *, files: tuple[IO[bytes], ...], scheme: str, app: str | None, event: str | None, fresh: bool, as_json: bool
) -> None:
    """Sign the bytes of each FILE as they are, and send them to the receiver as a webhook; - is standard input.

    Prints the receiver's answer: its HTTP status, its word, and the delivery's id, which `levelgate trace` takes.
    A body that has been sent before is a duplicate; --fresh makes a new delivery of it.
    """
    from levelgate.cli.connections import run
    from levelgate.cli.simulator_client import open_simulator
    from schemas.settings import Settings

    async def send(settings: Settings) -> bool:
        all_answered = True
        async with open_simulator(settings) as simulator:
            for file in files:
                reply = await simulator.deliver(file.read(), app=app, event=event, scheme=scheme, fresh=fresh)
                answer = reply.get("answer")
                told: dict[str, Any] = answer if isinstance(answer, dict) else {}
                result = {"status": reply["status"], "outcome": told.get("status"), "id": told.get("id")}
                if as_json:
                    print_json(result)
                else:
                    click.echo(_line(file.name, result, reply.get("error")))
                all_answered = all_answered and reply["status"] is not None
        return all_answered

    if not run(send):
        raise LevelgateError("the receiver did not answer: does it run? See `levelgate status`")


def _line(name: str, result: dict[str, Any], error: str | None) -> str:
    if result["status"] is None:
        return f"{name}: {error}"
    return f"{name}: {result['status']} {result['outcome'] or ''} {result['id'] or ''}".rstrip()
