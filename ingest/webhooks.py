"""The webhook routes: read, judge, publish, answer; 200 only for what the broker has.

Thin: what is believed is decided in `acceptance`, what is answered stands in `answers`. Never logs a
body, nor the provider route's path, which holds a secret.
"""

import asyncio
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import Counter

from ingest.acceptance import Acceptance, Verdict
from ingest.answers import Outcome, answer
from ingest.publisher import Publisher, Record, Unpublished
from schemas.envelope import to_headers
from schemas.errors import BadSignature, ForeignApp, LevelgateError
from schemas.ids import AppName, DeliveryId
from schemas.logs import get_logger
from schemas.metrics import ReceiverMetrics
from schemas.settings import App, Receiver
from schemas.topics import Topics

_BODY_TIMEOUT_S = 15.0
_REMEMBERED_IDS = 20_000
_LOG_INTERVAL_S = 10.0
_UNKNOWN_APP_LABEL = "(unknown)"  # no app can have this name
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = get_logger(__name__)

_Judge = Callable[[web.Request, AppName, bytes], Verdict]


class _Refused(LevelgateError):
    """The webhook ends here, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.word)
        self.outcome = outcome


class Webhooks:
    """Takes webhooks of all apps, at most `max_in_flight` at once, until it is told to stop."""

    def __init__(
        self,
        settings: Receiver,
        apps: Mapping[AppName, App],
        acceptances: Mapping[AppName, Acceptance],
        publisher: Publisher,
        topics: Topics,
        metrics: ReceiverMetrics,
    ) -> None:
        self._settings = settings
        self._apps = apps
        self._only_app = next(iter(apps)) if len(apps) == 1 else None
        self._acceptances = acceptances
        self._publisher = publisher
        self._topics = topics
        self._metrics = metrics
        self._received = _touched(metrics, apps)
        self._durable = _DurableIds()
        self._refusals = _RefusalLog()
        self._in_flight = 0
        self._is_stopping = False
        self._settled = asyncio.Event()
        self._settled.set()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the receiver's application takes them."""
        return [
            web.post("/webhooks", self.receive),
            web.post("/webhooks/{app}", self.receive),
            web.post("/webhooks/{app}/{event}", self.receive),
            web.post("/providers/{app}/{secret}", self.receive_provider_message),
        ]

    @property
    def is_stopping(self) -> bool:
        """Whether new webhooks are refused because this process ends."""
        return self._is_stopping

    async def stop(self, within_s: float) -> None:
        """Refuse new webhooks from now on, and return when those taken are answered, or after `within_s`."""
        self._is_stopping = True
        try:
            async with asyncio.timeout(within_s):
                await self._settled.wait()
        except TimeoutError:
            log.warning("webhooks_left_unanswered", count=self._in_flight)

    async def receive(self, request: web.Request) -> web.Response:
        """`POST /webhooks[/{app}[/{event}]]`: a signed webhook."""
        named = request.match_info.get("app")
        app = self._only_app if named is None else AppName(named)
        return await self._answered(request, app if app in self._apps else None, self._judge_signed)

    async def receive_provider_message(self, request: web.Request) -> web.Response:
        """`POST /providers/{app}/{secret}`: the conversation provider's, which the vendor does not sign."""
        app = self._apps.get(AppName(request.match_info["app"]))
        expected = app.provider_secret.get_secret_value() if app and app.provider_secret else ""
        given = request.match_info["secret"]
        # The route has no empty secret, so an app without one is never right.
        is_right = hmac.compare_digest(given.encode(errors="replace"), expected.encode())
        name = AppName(request.match_info["app"]) if is_right else None
        return await self._answered(request, name, self._judge_provider_message)

    def _judge_signed(self, request: web.Request, app: AppName, body: bytes) -> Verdict:
        return self._acceptances[app].judge(
            body,
            request.headers,
            now=datetime.now(UTC),
            event=request.match_info.get("event"),
            traceparent=_traceparent(request),
        )

    def _judge_provider_message(self, request: web.Request, app: AppName, body: bytes) -> Verdict:
        return self._acceptances[app].judge_provider_message(
            body, now=datetime.now(UTC), traceparent=_traceparent(request)
        )

    async def _answered(self, request: web.Request, app: AppName | None, judge: _Judge) -> web.Response:
        began = time.monotonic()
        delivery: DeliveryId | None = None
        try:
            async with self._taken():
                outcome, delivery = await self._outcome(request, app, judge)
        except _Refused as refused:
            outcome = refused.outcome
        except Exception as error:  # noqa: BLE001 -- outermost: nothing unforeseen may become a 5xx (answers.py)
            outcome = Outcome.FAILED
            # Not log.exception(): the error's text may repeat what was in the body.
            places = _places(error.__traceback__)
            log.error("webhook_failed", app=app, error=type(error).__name__, at=places)  # noqa: TRY400 -- see above
        label = app or _UNKNOWN_APP_LABEL
        self._received[label, outcome].inc()
        self._metrics.receive_duration.labels(outcome.word).observe(time.monotonic() - began)
        if delivery is None and outcome is not Outcome.FAILED:
            self._refusals.add(label, outcome)
        return answer(outcome, delivery, retry_after_s=self._settings.retry_after_s)

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        """Count a webhook as in flight; refuse it where there are too many or the process ends."""
        if self._is_stopping:
            raise _Refused(Outcome.STOPPING)
        if self._in_flight >= self._settings.max_in_flight:
            raise _Refused(Outcome.OVERLOADED)
        self._in_flight += 1
        self._settled.clear()
        self._metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            if self._in_flight == 0:
                self._settled.set()

    async def _outcome(
        self, request: web.Request, app: AppName | None, judge: _Judge
    ) -> tuple[Outcome, DeliveryId | None]:
        if app is None:
            raise _Refused(Outcome.UNKNOWN_APP)
        body = await self._body(request)
        self._metrics.body_size.labels(app).observe(len(body))
        try:
            verdict = judge(request, app, body)
        except BadSignature:
            raise _Refused(Outcome.UNAUTHENTICATED) from None
        except ForeignApp:
            raise _Refused(Outcome.FOREIGN_APP) from None
        delivery = verdict.envelope.id
        if self._durable.has(app, delivery):
            return Outcome.DUPLICATE, delivery
        await self._publish(verdict, body)
        self._durable.add(app, delivery)
        return verdict.outcome, delivery

    async def _body(self, request: web.Request) -> bytes:
        """Read the body, but never more than the limit of it."""
        kind = request.content_type
        is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        if not is_json or request.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused(Outcome.UNSUPPORTED_TYPE)
        limit = self._settings.max_body_bytes
        if (request.content_length or 0) > limit:
            raise _Refused(Outcome.TOO_LARGE)
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise _Refused(Outcome.TOO_LARGE)
        except (TimeoutError, ConnectionError, ClientPayloadError, HttpProcessingError):
            raise _Refused(Outcome.INCOMPLETE) from None
        return bytes(body)

    async def _publish(self, verdict: Verdict, body: bytes) -> None:
        envelope = verdict.envelope
        record = Record(
            topic=verdict.topic,
            key=envelope.key,
            value=body,
            headers=to_headers(envelope),
            family=self._topics.family(verdict.topic),
        )
        try:
            await self._publisher.publish(record)
        except Unpublished:
            raise _Refused(Outcome.UNAVAILABLE) from None
        if verdict.outcome is Outcome.QUARANTINED:
            log.info("quarantined", app=envelope.app, delivery=envelope.id, reason=envelope.reason)


class _DurableIds:
    """The last deliveries that the broker is known to have; what it forgot is the ledger's to know."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[AppName, DeliveryId], None] = OrderedDict()

    def has(self, app: AppName, delivery: DeliveryId) -> bool:
        return (app, delivery) in self._ids

    def add(self, app: AppName, delivery: DeliveryId) -> None:
        self._ids[app, delivery] = None
        if len(self._ids) > _REMEMBERED_IDS:
            self._ids.popitem(last=False)


class _RefusalLog:
    """Logs refusals by app and outcome, one line in ten seconds with their count: anybody can cause them."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Outcome], int] = {}
        self._logged_at: dict[tuple[str, Outcome], float] = {}

    def add(self, app: str, outcome: Outcome) -> None:
        key = app, outcome
        self._counts[key] = self._counts.get(key, 0) + 1
        now = time.monotonic()
        if now - self._logged_at.get(key, -_LOG_INTERVAL_S) >= _LOG_INTERVAL_S:
            log.warning("refused", app=app, outcome=outcome.word, count=self._counts.pop(key))
            self._logged_at[key] = now


def _touched(metrics: ReceiverMetrics, apps: Mapping[AppName, App]) -> dict[tuple[str, Outcome], Counter]:
    # Each label set exists from the start, so that a rate does before the first refusal.
    for outcome in Outcome:
        metrics.receive_duration.labels(outcome.word)
    labels = [*apps, _UNKNOWN_APP_LABEL]
    return {(app, outcome): metrics.received.labels(app, outcome.word) for app in labels for outcome in Outcome}


def _traceparent(request: web.Request) -> str:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def _places(traceback: TracebackType | None) -> list[str]:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_qualname}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places
