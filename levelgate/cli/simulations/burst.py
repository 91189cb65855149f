"""`levelgate simulate burst`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table
from schemas.errors import LevelgateError


@click.command(
    epilog=example(
        """
levelgate simulate burst --count 2000
levelgate simulate burst --count 5000 --tenants 50 --timeout 300 --json
"""
    )
)
@click.option("--count", type=click.IntRange(min=1), required=True, help="How many events.")
@click.option("--tenants", type=click.IntRange(min=1), default=50, show_default=True, help="Over how many locations.")
@click.option("--app", help="The app they are for; needed where the settings name several.")
@click.option(
    "--timeout", "within_s", type=float, default=300.0, show_default=True, help="Follow them for so many seconds."
)
@json_option
def command(*, count: int, tenants: int, app: str | None, within_s: float, as_json: bool) -> None:
    """Send many contact events over many locations, and follow them until each is handled, parked or dead.

    The locations are made and the app is installed on them in bulk; what is installed stays. Then counts by state, and
    how often the simulator was asked for a contact: once for each event, or for several of a contact that waited
    together. What was asked beyond what is recorded ran twice, or was cut off and ran again.
    """
    from levelgate.cli.connections import open_pool, run
    from levelgate.cli.local_settings import demo_app
    from levelgate.cli.output import Reporter
    from levelgate.cli.simulations.bursting import BurstResult, run_burst
    from levelgate.cli.simulator_client import open_simulator
    from schemas.ids import AppName
    from schemas.settings import Settings

    async def burst(settings: Settings) -> BurstResult:
        async with open_pool(settings) as pool, open_simulator(settings) as simulator:
            return await run_burst(
                settings,
                AppName(app) if app else demo_app(settings),
                pool,
                simulator,
                Reporter(),
                count=count,
                tenants=tenants,
                within_s=within_s,
            )

    result = run(burst)
    if as_json:
        print_json(result)
    else:
        print_table(("state", "events"), sorted(result.states.items()), empty="no event was accepted")
        click.echo(
            f"\n{result.sent} sent, {result.accepted} accepted, over {tenants} locations ({result.installed} new), "
            f"in {result.seconds:g} s"
        )
        click.echo(f"{result.api_reads} API reads for {result.accepted} deliveries: {result.ran_twice} ran twice")
    if not result.is_good:
        raise LevelgateError("not every event was handled: see `levelgate parked` and `levelgate dead list`")
