"""Many events at once, followed to their end, and how many of them ran more than once."""

import time
from collections import Counter
from typing import Any

import msgspec

from levelgate.cli.demo.following import follow
from levelgate.cli.demo.installing import install_in_browser, is_installed, open_tokens
from levelgate.cli.demo.queries import recorded_calls
from levelgate.cli.output import Reporter
from levelgate.cli.simulator_client import SimulatorClient
from processors.sql import Pool
from schemas.ids import AppName
from schemas.settings import Settings

_ROUTE = "GET /contacts/{contactId}"
_METHOD, _PATH = "GET", "/contacts/%"
"""What the built-in handler of a contact event calls, once a run: as the simulator counts it, and as it is recorded."""


class BurstResult(msgspec.Struct, frozen=True):
    """What became of a burst."""

    sent: int
    accepted: int
    """Answered 2xx, at the first try or a later one."""
    installed: int
    """Locations that the app was newly installed on."""
    states: dict[str, int]
    """How many of the accepted are in which state."""
    api_reads: int
    """How often the simulator was asked for a contact meanwhile."""
    recorded_reads: int
    """How many of these are recorded with a delivery, as part of a run that was kept."""
    ran_twice: int
    """The rest: runs that ended without a record, or were cut off, and so were made again."""
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether every event was accepted and handled."""
        return self.states == {"handled": self.sent}


async def run_burst(
    settings: Settings,
    app: AppName,
    pool: Pool,
    simulator: SimulatorClient,
    reporter: Reporter,
    *,
    count: int,
    tenants: int,
    within_s: float,
) -> BurstResult:
    """Send and follow; the app is first installed for the agency, where it is not."""
    async with open_tokens(settings, pool) as tokens:
        if not await is_installed(app, tokens, simulator):
            with reporter.step(f"the app {app} is installed for the agency"):
                await install_in_browser(settings, app)
    began = time.monotonic()
    reads_before = await _reads(simulator)
    deliveries, last = await _send(app, simulator, reporter, count=count, tenants=tenants)
    with reporter.progress("events worked off", len(deliveries)) as advance:
        states = await follow(pool, deliveries, within_s=within_s, advance=advance)
    reads = await _reads(simulator) - reads_before
    recorded = await recorded_calls(pool, deliveries, method=_METHOD, path=_PATH)
    return BurstResult(
        sent=last["sent"],
        accepted=last["accepted"],
        installed=last["installed"],
        states=dict(Counter(states.values())),
        api_reads=reads,
        recorded_reads=recorded,
        ran_twice=max(0, reads - recorded),
        seconds=round(time.monotonic() - began, 1),
    )


async def _send(
    app: AppName, simulator: SimulatorClient, reporter: Reporter, *, count: int, tenants: int
) -> tuple[list[str], dict[str, Any]]:
    deliveries: list[str] = []
    last: dict[str, Any] = {}
    with reporter.progress("events sent", count) as advance:
        async for line in simulator.stream("burst", app=app, count=count, tenants=tenants):
            deliveries += line.get("ids", ())
            if "sent" in line:
                last = line
                advance(line["sent"])
    return deliveries, last


async def _reads(simulator: SimulatorClient) -> int:
    return int((await simulator.status())["calls"].get(_ROUTE, 0))
