"""The simulator's webhook sender: stamps, signs, posts, and tries again as the vendor does.

It follows no redirect, reads no Retry-After, and promises no order, as the vendor. Whether a retry's body and
`deliveryId` change is unknown: here the body stays, the header is new with each try.
"""

import asyncio
import random
import uuid
from collections.abc import Coroutine
from typing import Any, Self

import aiohttp
import msgspec
import orjson

from levelgate.simulator import retries
from levelgate.simulator.clock import Clock
from levelgate.simulator.grants import PLAN_ID, USER_ID, version_id
from levelgate.simulator.keys import Scheme, SimulatorKeys
from schemas.catalogue import PROVIDER_MESSAGE
from schemas.ids import AppName
from schemas.logs import get_logger
from schemas.settings import Settings

TIMEOUT_S = 10.0
"""How long an answer may take; the vendor's own limit is unknown."""

WebhookBody = dict[str, Any] | list[dict[str, Any]]

_CONNECTIONS = 100
_OK = range(200, 300)

_log = get_logger(__name__)


class Tally(msgspec.Struct):
    """What became of the webhooks of one sender."""

    sent: int = 0
    """Webhooks, each counted once however often it was tried."""
    accepted: int = 0
    retried: int = 0
    """Further tries."""
    failed: int = 0
    """Given up after the last try."""


class Reply(msgspec.Struct, frozen=True):
    """What one try was answered: no status means no answer, and the error says why."""

    status: int | None
    answer: Any = None
    error: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What became of one webhook."""

    id: str
    """Its webhookId."""
    status: int | None
    """Of the last try."""
    tries: int
    answer: Any = None
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the last try was answered 2xx."""
        return self.status in _OK


class Sender:
    """Sends to the receiver of the settings; an async context manager."""

    def __init__(self, settings: Settings, keys: SimulatorKeys, clock: Clock) -> None:
        self._settings = settings
        self.receiver_url = settings.simulator.receiver_url
        """Where webhooks go; a test learns its receiver's port after the simulator's."""
        self._keys = keys
        self._clock = clock
        self._random = random.SystemRandom()
        self._background: set[asyncio.Task[Outcome]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), connector=aiohttp.TCPConnector(limit=_CONNECTIONS)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def stamped(self, app: AppName, body: WebhookBody, webhook_id: str | None = None) -> WebhookBody:
        """Return `body` with what accompanies every webhook put over it; a list's elements share one id."""
        app_id = self._settings.apps[app].app_id
        stamp = {"appId": app_id, "versionId": version_id(app_id), "timestamp": self._clock.iso()}
        stamp["webhookId"] = webhook_id or str(uuid.uuid4())
        return [{**each, **stamp} for each in body] if isinstance(body, list) else {**body, **stamp}

    async def send(
        self, app: AppName, body: WebhookBody, *, event: str | None = None, scheme: Scheme = "both"
    ) -> Outcome:
        """Send one webhook until its first 2xx or the last try; `event` goes into the path."""
        webhook_id = str(uuid.uuid4())
        raw = orjson.dumps(self.stamped(app, body, webhook_id))
        signature = {} if event == PROVIDER_MESSAGE else self._keys.headers(raw, scheme)
        url = self.url(app, event)
        self.tally.sent += 1
        tries = 0
        while True:
            reply = await self._post(url, raw, signature)
            tries += 1
            if reply.status in _OK:
                self.tally.accepted += 1
                break
            delay = retries.delay_s(tries, chance=self._random.random(), speedup=self._settings.simulator.retry_speedup)
            if delay is None:
                self.tally.failed += 1
                _log.warning("webhook_given_up", app=app, webhook=webhook_id, status=reply.status, tries=tries)
                break
            self.tally.retried += 1
            await asyncio.sleep(delay)
        return Outcome(webhook_id, reply.status, tries, reply.answer, reply.error)

    async def send_bytes(self, app: AppName, raw: bytes, *, event: str | None, scheme: Scheme) -> Reply:
        """Sign these bytes and send them as they are, once."""
        signature = {} if event == PROVIDER_MESSAGE else self._keys.headers(raw, scheme)
        return await self._post(self.url(app, event), raw, signature)

    def url(self, app: AppName, event: str | None) -> str:
        """Return where the app's webhooks go; the provider's message has a secret in its path."""
        base = self.receiver_url.rstrip("/")
        if event == PROVIDER_MESSAGE:
            secret = self._settings.apps[app].provider_secret
            return f"{base}/providers/{app}/{secret.get_secret_value() if secret else '-'}"
        return f"{base}/webhooks/{app}" + (f"/{event}" if event else "")

    def announce_install(self, app: AppName, location: str | None, company: str) -> None:
        """Send INSTALL in the background; it may arrive before the browser's callback (issue 294)."""
        self._in_background(self.send_install(app, location, company))

    async def send_install(self, app: AppName, location: str | None, company: str) -> Outcome:
        """Send INSTALL for a location of `company`, or for the agency itself."""
        body: dict[str, Any] = {"type": "INSTALL", "installType": "Location" if location else "Company"}
        body |= {"locationId": location} if location else {}
        body |= {"companyId": company, "userId": USER_ID, "planId": PLAN_ID, "companyName": "Harbour Lane Agency"}
        body |= {"isWhitelabelCompany": False, "whitelabelDetails": {}}
        return await self.send(app, body)

    async def send_uninstall(self, app: AppName, location: str | None, company: str | None) -> Outcome:
        """Send UNINSTALL: a location's names the location only, an agency's the company only (facts.md, Lifecycle)."""
        tenant = {"locationId": location} if location else {"companyId": company}
        return await self.send(app, {"type": "UNINSTALL", **tenant})

    async def _post(self, url: str, raw: bytes, signature: dict[str, str]) -> Reply:
        if self._session is None:
            raise RuntimeError("the sender is not started")
        headers = {"Content-Type": "application/json", "deliveryId": str(uuid.uuid4()), **signature}
        try:
            async with self._session.post(url, data=raw, headers=headers, allow_redirects=False) as response:
                return Reply(response.status, _json(await response.read()))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Reply(None, error=f"no answer: {type(error).__name__}")

    def _in_background(self, sending: Coroutine[Any, Any, Outcome]) -> None:
        task = asyncio.create_task(sending)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _json(raw: bytes) -> Any:  # noqa: ANN401 -- whatever the receiver answered
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
