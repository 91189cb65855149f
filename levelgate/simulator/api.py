"""The edge between HTTP and the plain functions of `state`: bearer, limits, Version, scope, tenant, JSON."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from levelgate.simulator import refusals
from levelgate.simulator.faults import Fault
from levelgate.simulator.limits import Budget
from levelgate.simulator.refusals import Refusal
from levelgate.simulator.state.route import Call, Route, named_tenant
from levelgate.simulator.store import Body
from levelgate.simulator.vendor import VENDOR, Vendor

CONTROL_PREFIX = "/_simulator/"

CLOSING = web.AppKey("closing", asyncio.Event)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BUDGET = web.RequestKey("budget", Budget)

# Whichever of the served versions: the header is laxer than the documents say (facts.md, Versions).
_SERVED_VERSIONS = frozenset({"2021-04-15", "2021-07-28", "2023-02-21"})
_FORM = "application/x-www-form-urlencoded"


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:  # noqa: ANN401 -- any JSON
    """Return `body` as JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


@web.middleware
async def vendor_manners(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Carry out faults, turn refusals into answers, add the limits' headers, and make all changes durable first."""
    vendor = request.app[VENDOR]
    if request.path.startswith(CONTROL_PREFIX):
        return await handler(request)
    resource = request.match_info.route.resource
    fault = vendor.faults.take(request.method, request.path, resource.canonical if resource is not None else None)
    try:
        if fault is not None:
            await _before(fault, request)
        response = await handler(request)
    except Refusal as refusal:
        response = _refused(refusal)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        response = _refused(refusals.no_such_path(request.method, request.path))
    await vendor.store.flush()
    if fault is not None and fault.effect == "lost":
        _cut(request)
    if _BUDGET in request:
        response.headers.update(request[_BUDGET].headers())
    return response


def endpoint(route: Route) -> _Handler:
    """Return the aiohttp handler of `route`."""

    async def answer(request: web.Request) -> web.Response:
        vendor = request.app[VENDOR]
        vendor.calls[f"{route.method} {route.path}"] += 1
        call = await _authorized(vendor, route, request)
        return json_response(route.answer(call), status=route.status)

    return answer


async def read_fields(request: web.Request) -> Body:
    """Return the fields of a form or of a JSON object; no body is no fields."""
    if request.content_type == _FORM:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "The body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body is not a JSON object")
    return body


def demand(fields: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse with 422 where one of `names` is missing or empty."""
    missing = [name for name in names if fields.get(name) is None or fields[name] == ""]
    if missing:
        raise refusals.malformed([f"{name} should not be empty" for name in missing])


async def _authorized(vendor: Vendor, route: Route, request: web.Request) -> Call:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    principal = vendor.grants.principal(token) if scheme.lower() == "bearer" else None
    if principal is None:
        raise refusals.invalid_token()
    budget = vendor.meter.take(principal.app_id, principal.tenant, vendor.clock.now())
    request[_BUDGET] = budget
    if not budget.allowed:
        raise refusals.too_many()
    version = request.headers.get("Version")
    if version == "v3":
        raise refusals.not_in_v3(request.path_qs)
    if version not in _SERVED_VERSIONS:
        raise refusals.bad_version()
    if route.scope not in principal.scopes:
        raise refusals.wrong_scope()
    if route.level not in {"either", principal.level}:
        raise refusals.wrong_tenant() if route.level == "location" else refusals.wrong_scope()
    body = await read_fields(request)
    query: Body = dict(request.query)
    call = Call(principal, vendor.store, vendor.grants, vendor.clock, request.match_info, query, body)
    demand(query if route.method in {"GET", "DELETE"} else body, route.required)
    tenant = named_tenant(call.params, call.query, call.body)
    if tenant is not None:
        call.demand_access(tenant)
    return call


async def _before(fault: Fault, request: web.Request) -> None:
    match fault.effect:
        case "error":
            raise Refusal(fault.status, "Internal server error")
        case "limit":
            raise refusals.too_many()
        case "slow":
            await asyncio.sleep(fault.delay_s)
        case "silent":
            # Held until the caller gives up (which cancels this) or the simulator stops.
            await request.app[CLOSING].wait()
            _cut(request)
        case "lost":
            pass


def _refused(refusal: Refusal) -> web.Response:
    return json_response(refusal.body(), status=refusal.status)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
