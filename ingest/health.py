"""Whether the process lives, whether it can take webhooks, and what it counts.

Ready means Kafka alone: Postgres matters to the OAuth callback only, and webhooks must not wait for it
(design §9.13).
"""

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ingest.publisher import Publisher
from ingest.webhooks import Webhooks


class Health:
    """`GET /livez` and `GET /readyz`."""

    def __init__(self, publisher: Publisher, webhooks: Webhooks) -> None:
        self._publisher = publisher
        self._webhooks = webhooks

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the receiver's application takes them."""
        return [web.get("/livez", self.live), web.get("/readyz", self.ready)]

    async def live(self, _request: web.Request) -> web.Response:
        """200 as long as the event loop turns."""
        return _json({"alive": True}, status=200)

    async def ready(self, _request: web.Request) -> web.Response:
        """200 where a webhook sent now would be taken and written, else 503 with what is in the way."""
        kafka, stopping = self._publisher.is_ready, self._webhooks.is_stopping
        is_ready = kafka and not stopping
        return _json({"ready": is_ready, "kafka": kafka, "stopping": stopping}, status=200 if is_ready else 503)


def build_metrics(registry: CollectorRegistry) -> web.Application:
    """Return the application of the metrics port: `GET /metrics`."""

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def _json(content: dict[str, bool], *, status: int) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
