"""A receiver to send webhooks to."""

import contextlib
import io
import json

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from ingest.app import PUBLISHER, WEBHOOKS, build_receiver
from ingest.run import serve
from schemas.settings import Kafka, Settings
from tests.support.eventually import eventually
from tests.support.webhooks import encoded, signed


class Answer:
    """What the sender was told."""

    def __init__(self, status: int, headers, content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.id, self.word = None, None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(content)
            self.id, self.word = said["id"], said["status"]

    def __repr__(self) -> str:
        return f"<{self.status} {self.word} {self.id}>"


class RunningReceiver:
    """A receiver in this process, on a port of its own."""

    def __init__(self, url: str, kafka: Kafka, app: web.Application, registry: CollectorRegistry, session) -> None:
        self.url = url
        self.kafka = kafka
        self.webhooks = app[WEBHOOKS]
        self.publisher = app[PUBLISHER]
        self.session = session
        self._registry = registry

    async def send(self, body, *, path="/webhooks/demo", scheme="ed25519", **headers) -> Answer:
        raw = encoded(body)
        given = {**signed(raw, scheme), **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.post(self.url + path, data=io.BytesIO(raw), headers=given) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str):
        async with self.session.get(self.url + path, allow_redirects=False) as response:
            return response.status, await response.text()

    async def until_ready(self, within_s=30) -> None:
        await eventually(lambda: self.publisher.is_ready, within_s=within_s)

    def count(self, name: str, **labels) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def running_receiver(settings: Settings, *, ready=True, port=0):
    registry = CollectorRegistry()
    app = build_receiver(settings, registry)
    async with serve(app, "127.0.0.1", port) as bound, aiohttp.ClientSession() as session:
        receiver = RunningReceiver(f"http://127.0.0.1:{bound}", settings.kafka, app, registry, session)
        if ready:
            await receiver.until_ready()
        yield receiver


def with_receiver(settings: Settings, **changes) -> Settings:
    return settings.model_copy(update={"receiver": settings.receiver.model_copy(update=changes)})
