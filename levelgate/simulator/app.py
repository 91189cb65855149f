"""The simulator's composition root: `build_simulator(settings)`; opens nothing until the app starts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web

from levelgate.simulator import consent, control, oauth
from levelgate.simulator.api import CLOSING, endpoint, vendor_manners
from levelgate.simulator.clock import Clock
from levelgate.simulator.faults import Faults
from levelgate.simulator.grants import Grants
from levelgate.simulator.keys import SimulatorKeys, ensure_keys
from levelgate.simulator.limits import Limits, Meter
from levelgate.simulator.seeding import seed_locations
from levelgate.simulator.sender import Sender
from levelgate.simulator.state import ROUTES
from levelgate.simulator.store import Store
from levelgate.simulator.vendor import VENDOR, Vendor
from schemas.samples import samples
from schemas.settings import Settings

_MAX_BODY_BYTES = 16 * 1024 * 1024


def build_simulator(
    settings: Settings,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    keys: SimulatorKeys | None = None,
) -> web.Application:
    """Wire the vendor's API, the consent page and the control routes over the state in the settings' data folder.

    `keys` sign its webhooks; without them the data folder's do, made where they are missing.
    """
    app = web.Application(middlewares=[vendor_manners], client_max_size=_MAX_BODY_BYTES)
    app[CLOSING] = asyncio.Event()

    async def vendor(app: web.Application) -> AsyncIterator[None]:
        own_clock = clock or Clock()
        data_dir = settings.simulator.data_dir
        own_keys = await asyncio.to_thread(ensure_keys, data_dir) if keys is None else keys
        documented = await asyncio.to_thread(samples)
        store = await Store.open(data_dir)
        async with Sender(settings, own_keys, own_clock) as sender:
            app[VENDOR] = Vendor(
                settings=settings,
                clock=own_clock,
                keys=own_keys,
                store=store,
                samples=documented,
                grants=Grants(store, own_clock),
                meter=Meter(limits or Limits()),
                faults=Faults(),
                sender=sender,
                calls=Counter(),
            )
            seed_locations(store, documented)
            await store.flush()
            yield
        await store.close()

    async def let_go(app: web.Application) -> None:
        app[CLOSING].set()

    app.cleanup_ctx.append(vendor)
    app.on_shutdown.append(let_go)
    app.router.add_route("GET", consent.PATH, consent.choose_location)
    app.router.add_route("POST", consent.PATH, consent.choose_location)
    app.router.add_post("/oauth/token", oauth.token)
    app.router.add_post("/oauth/reconnect", oauth.reconnect)
    for route in (*oauth.ROUTES, *ROUTES):
        app.router.add_route(route.method, route.path, endpoint(route))
    control.add_routes(app)
    return app
