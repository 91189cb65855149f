"""One call of the vendor's API, whichever operation: token, Version header, typed errors, one retry after a 401.

Knows operations only as data, so that modules for all of the vendor's families can be generated on top of it. Makes
no call that the vendor's limits would refuse, as far as it can know.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import orjson
from pydantic import SecretStr
from yarl import URL

from levelgate.highlevel.fetching import TokenSource
from levelgate.highlevel.lanes import Lane
from levelgate.highlevel.rate_limits import wait_after_429
from levelgate.highlevel.spending import Budgets, Spending, allowance
from levelgate.highlevel.wire import Answer, exchange
from schemas.errors import (
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    LevelgateError,
    Permanent,
    RateLimited,
    RefreshUnanswered,
)
from schemas.ids import AppName, TenantId
from schemas.metrics import ApiMetrics
from schemas.operations import Operation
from schemas.settings import Vendor

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

_VERSION = "2021-07-28"
_FAMILY_VERSIONS = {"conversations": "2021-04-15"}
"""For the operations whose documents name no Version, what the rest of their family asks for (facts.md §4)."""


class ApiCall(msgspec.Struct, frozen=True):
    """One call as it was made, for `trace`; the path is concrete and without its query, status None: no answer."""

    method: str
    path: str
    status: int | None
    ms: float


OnCall = Callable[[ApiCall], None]


class CallEnd(msgspec.Struct, frozen=True):
    """How a call for a tenant ended, as far as it tells of the vendor's health."""

    app: AppName
    tenant: TenantId
    is_answered: bool
    """The vendor answered with less than 500: a refusal is an answer."""
    elapsed_s: float


Observer = Callable[[CallEnd], None]


def _nobody(_end: CallEnd) -> None:
    """Tell nobody."""


class HighLevelClient:
    """Calls the API for any app and tenant over one session; one per process."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        vendor: Vendor,
        tokens: TokenSource,
        metrics: ApiMetrics,
        *,
        observer: Observer = _nobody,
        budgets: Budgets | None = None,
    ) -> None:
        """`observer` is told of each call's end, and of each token that the vendor did not answer for.

        Without `budgets` it has its own, of which nothing is kept.
        """
        self._session = session
        self._observer = observer
        self._base = vendor.api_url.rstrip("/")
        self._timeout_s = vendor.call_timeout_s
        self._tokens = tokens
        self._metrics = metrics
        self._budgets = Budgets(allowance(vendor)) if budgets is None else budgets

    async def request(
        self,
        app: AppName,
        tenant: TenantId,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        json: Any = None,  # noqa: ANN401 -- any JSON
        on_call: OnCall | None = None,
        lane: Lane = "live",
    ) -> Any:  # noqa: ANN401 -- any JSON
        """Call `operation` under the tenant's token and return the parsed answer, None where it has no body.

        A query parameter that is None is left out. `on_call` is told of each call that is made. The call is spent of
        the share that `lane` has of the tenant's budget.

        Raises ApiNotFound, ApiRejected (another 4xx), RateLimited (429, or none is left: with how long to wait),
        ApiUnavailable (5xx, no usable answer: the call may have had its effect), and what `TokenStore.access_token`
        raises.
        """
        concrete = concrete_path(operation, path or {})
        url = _url(self._base + concrete, query or {})
        body = None if json is None else orjson.dumps(json)
        call = _Call(operation, concrete, url, body, on_call, lane)
        token = await self._token(app, tenant)
        answer = await self._send(app, tenant, call, token)
        if _is_stale_token(answer) and await self._tokens.reject(app, tenant, token):
            token = await self._token(app, tenant)
            answer = await self._send(app, tenant, call, token)
        if answer.is_success:
            return answer.json()
        raise _error(answer)

    async def _token(self, app: AppName, tenant: TenantId) -> SecretStr:
        began = time.perf_counter()
        try:
            return await self._tokens.access_token(app, tenant)
        except RefreshUnanswered:
            self._observer(CallEnd(app, tenant, is_answered=False, elapsed_s=time.perf_counter() - began))
            raise

    async def _send(self, app: AppName, tenant: TenantId, call: "_Call", token: SecretStr) -> Answer:
        operation = call.operation
        named = f"{operation.method} {call.path}"
        spending = await self._admitted(app, tenant, call.lane, named)
        began = time.perf_counter()
        answer: Answer | None = None
        try:
            answer = await exchange(
                self._session,
                operation.method,
                call.url,
                named=named,
                headers=_headers(operation, token, has_body=call.body is not None),
                data=call.body,
                timeout_s=self._timeout_s,
            )
        except ApiUnavailable:
            self._observer(CallEnd(app, tenant, is_answered=False, elapsed_s=time.perf_counter() - began))
            raise
        finally:
            spending.ended(answer)
            status = None if answer is None else answer.status
            elapsed_s = time.perf_counter() - began
            self._metrics.calls.labels(app=app, family=operation.family, status=_status_class(status)).inc()
            self._metrics.call_duration.labels(family=operation.family).observe(elapsed_s)
            if call.on_call is not None:
                call.on_call(ApiCall(operation.method, call.path, status, round(elapsed_s * 1000, 1)))
        self._observer(CallEnd(app, tenant, is_answered=answer.status < 500, elapsed_s=elapsed_s))  # noqa: PLR2004 -- HTTP
        return answer

    async def _admitted(self, app: AppName, tenant: TenantId, lane: Lane, named: str) -> Spending:
        """Count a call against the tenant's budget; raise RateLimited where none is left now."""
        spending = await self._budgets.of(app, tenant)
        wait_s = await spending.ask(lane)
        if wait_s > 0:
            self._metrics.calls_deferred.labels(app=app).inc()
            raise RateLimited(f"{named} waits for its tenant's limits", after=timedelta(seconds=wait_s))
        return spending


class _Call(msgspec.Struct, frozen=True):
    operation: Operation
    path: str
    url: URL
    body: bytes | None
    on_call: OnCall | None
    lane: Lane


def _headers(operation: Operation, token: SecretStr, *, has_body: bool) -> dict[str, str]:
    version = operation.version or _FAMILY_VERSIONS.get(operation.family, _VERSION)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}", "Version": version}
    return headers | {"Content-Type": "application/json"} if has_body else headers


def concrete_path(operation: Operation, given: Mapping[str, str]) -> str:
    """Fill in the path's parameters, so that each stays one segment whatever it holds."""

    def segment(match: re.Match[str]) -> str:
        value = given.get(match[1])
        # An empty one would call the list beside the entity, and dots another operation altogether.
        if not isinstance(value, str) or value.strip(".") == "":
            raise Permanent(f"{operation.id} can't be called: {match[1]} is missing")
        return quote(value, safe="")

    return _PLACEHOLDER.sub(segment, operation.path)


def _url(address: str, query: Mapping[str, str | int | bool | None]) -> URL:
    url = URL(address)
    named = {name: _query_value(value) for name, value in query.items() if value is not None}
    return url.with_query(named) if named else url


def _query_value(value: str | int | bool) -> str:  # noqa: FBT001 -- a value to be written, not a switch
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_stale_token(answer: Answer) -> bool:
    """Whether a 401 is about the token's age; one about its scope stays whatever token asks (facts.md §4)."""
    return answer.status == 401 and "scope" not in answer.complaint()  # noqa: PLR2004 -- HTTP


def _status_class(status: int | None) -> str:
    if status is None:
        return "none"
    return "429" if status == 429 else f"{status // 100}xx"  # noqa: PLR2004 -- HTTP


def _error(answer: Answer) -> LevelgateError:
    said = f"{answer.named} answered {answer.status}{answer.trace}"
    match answer.status:
        case 429:
            return RateLimited(said, after=wait_after_429(answer.headers, now=datetime.now(UTC)))
        case 404:
            return ApiNotFound(said)
        case status if status >= 500:  # noqa: PLR2004 -- HTTP
            return ApiUnavailable(said)
        case status:
            return ApiRejected(said, status=status)
