"""What `simulate install` and `simulate uninstall` share: act at the vendor, and tell what its webhook was answered."""

from typing import Any

import click

from levelgate.cli.output import print_json
from schemas.errors import LevelgateError


def send_notice(route: str, *, app: str | None, location: str | None, company: str | None, as_json: bool) -> None:
    """Call the control route and print the outcome; raise LevelgateError where the webhook was not accepted."""
    from levelgate.cli.connections import run
    from levelgate.cli.local_settings import demo_app
    from levelgate.cli.simulator_client import open_simulator
    from schemas.settings import Settings

    async def act(settings: Settings) -> dict[str, Any]:
        async with open_simulator(settings) as simulator:
            return await simulator.post(route, app=app or demo_app(settings), location=location, company=company)

    outcome = run(act)
    answer = outcome.get("answer")
    told: dict[str, Any] = answer if isinstance(answer, dict) else {}
    if as_json:
        print_json({"status": outcome["status"], "outcome": told.get("status"), "id": told.get("id")})
    else:
        click.echo(
            f"{route.upper()} sent: {outcome['status']} {told.get('status') or ''} {told.get('id') or ''}".rstrip()
        )
    if outcome["status"] is None:
        raise LevelgateError("the receiver did not answer: does it run? See `levelgate status`")
