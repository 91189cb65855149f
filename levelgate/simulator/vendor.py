"""The simulated vendor as one object: what its routes, its sender and the tests work on."""

from collections import Counter

import msgspec
from aiohttp import web

from levelgate.simulator.clock import Clock
from levelgate.simulator.faults import Faults
from levelgate.simulator.grants import Grants
from levelgate.simulator.keys import SimulatorKeys
from levelgate.simulator.limits import Meter
from levelgate.simulator.sender import Sender
from levelgate.simulator.store import Store
from schemas.ids import AppName
from schemas.samples import Sample
from schemas.settings import App, Settings


class Vendor(msgspec.Struct, frozen=True):
    """All of it; made when the server starts."""

    settings: Settings
    clock: Clock
    keys: SimulatorKeys
    store: Store
    samples: tuple[Sample, ...]
    """The documented bodies, read once: reading them blocks."""
    grants: Grants
    meter: Meter
    faults: Faults
    sender: Sender
    calls: Counter[str]
    """How often each operation was called, by `METHOD /path/{template}`; token calls also with their grant type."""

    def app_of_client(self, client_id: str) -> tuple[AppName, App] | None:
        """Return the app with this client id."""
        return next(((name, app) for name, app in self.settings.apps.items() if app.client_id == client_id), None)


VENDOR = web.AppKey("vendor", Vendor)
