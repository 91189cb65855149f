"""The demo, step by step."""

import asyncio
import time

from levelgate.cli.connections import open_pool
from levelgate.cli.demo.following import follow
from levelgate.cli.demo.installing import fetch_tokens, install_in_browser, is_installed, open_tokens
from levelgate.cli.demo.queries import mirror_rows
from levelgate.cli.demo.summary import SentSample, Summary, count_families, urls
from levelgate.cli.output import Reporter
from levelgate.cli.simulator_client import SimulatorClient, open_simulator
from levelgate.highlevel.tokens import TokenStore
from schemas.catalogue import CATALOGUE, tenant_of
from schemas.ids import AppName, TenantId
from schemas.samples import Sample, samples
from schemas.settings import Settings

_FOLLOW_WITHIN_S = 90.0

_LIFECYCLE = "app"
"""Events of this family tell of installs themselves: their location is uninstalled by its own sample."""


async def run_demo(settings: Settings, app: AppName, mode: str, reporter: Reporter, *, began: float) -> Summary:
    """Install, send, follow; return what came of it. Raises LevelgateError where a step can't be done.

    `began`: when the whole start began, by the monotonic clock.
    """
    async with (
        open_pool(settings) as pool,
        open_simulator(settings) as simulator,
        open_tokens(settings, pool) as tokens,
    ):
        with reporter.step("the simulator has the samples' entities"):
            await simulator.post("seed")
        documented = await asyncio.to_thread(samples)
        locations = _locations(documented, (await simulator.status())["company"])
        installed_anew = await _ensure_installed(settings, app, locations, tokens, simulator, reporter)
        with reporter.progress("locations with a token", len(locations)) as advance:
            await fetch_tokens(app, locations, tokens, advance)
        sent = await _send(app, len(documented), simulator, reporter)
        accepted = [sample.id for sample in sent if sample.accepted]
        with reporter.progress("samples worked off", len(accepted)) as advance:
            states = await follow(pool, accepted, within_s=_FOLLOW_WITHIN_S, advance=advance)
        mirrored = await mirror_rows(pool, app)
    families, total = count_families(sent, states)
    ends = {sample.name: states.get(sample.id, "refused by the receiver") for sample in sent}
    return Summary(
        mode=mode,
        app=app,
        installed_anew=installed_anew,
        locations=len(locations),
        families=families,
        total=total,
        deliveries={sample.name: sample.id for sample in sent if sample.accepted},
        not_handled={name: state for name, state in ends.items() if state != "handled"},
        mirror_rows=mirrored,
        urls=urls(settings, app),
        seconds=round(time.monotonic() - began, 1),
    )


def _locations(documented: tuple[Sample, ...], company: str) -> list[TenantId]:
    """Return the samples' locations, which each need a token."""
    found: dict[TenantId, None] = {}
    for sample in documented:
        event = CATALOGUE[sample.type]
        tenant = tenant_of(event, sample.body[0] if isinstance(sample.body, list) else sample.body)
        if tenant is not None and tenant != company and event.family != _LIFECYCLE:
            found[tenant] = None
    return list(found)


async def _ensure_installed(
    settings: Settings,
    app: AppName,
    locations: list[TenantId],
    tokens: TokenStore,
    simulator: SimulatorClient,
    reporter: Reporter,
) -> bool:
    if await is_installed(app, tokens, simulator, locations):
        reporter.say(f"the app {app} is installed already")
        return False
    with reporter.step(f"the app {app} is installed: start page, consent page, callback, code exchange"):
        await install_in_browser(settings, app)
    return True


async def _send(app: AppName, total: int, simulator: SimulatorClient, reporter: Reporter) -> list[SentSample]:
    sent = []
    with reporter.progress("samples sent as signed webhooks", total) as advance:
        async for line in simulator.stream("samples", app=app):
            if line.get("done") or "skipped" in line:
                continue
            answer = line.get("answer")
            # The receiver's id counts: it is what `trace` knows.
            delivery = answer.get("id") if isinstance(answer, dict) else None
            sent.append(SentSample(line["name"], line["type"], delivery or line["id"], line["accepted"]))
            advance(len(sent))
    return sent
