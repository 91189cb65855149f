"""`/_simulator/…`: how the command, the tests and the local stack make the vendor act. No part of the vendor's API."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar, get_args

import msgspec
import orjson
from aiohttp import web

from levelgate.simulator.api import json_response
from levelgate.simulator.burst import Burst, run_burst
from levelgate.simulator.consent import DEMO_COMPANY
from levelgate.simulator.faults import Fault
from levelgate.simulator.keys import Scheme
from levelgate.simulator.limits import Limits
from levelgate.simulator.seeding import ensure_company, ensure_location, seed_entities
from levelgate.simulator.sending import send_samples
from levelgate.simulator.vendor import VENDOR, Vendor
from schemas.ids import AppName

_T = TypeVar("_T")


class _Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app: AppName | None = None
    """None: the only one, here and below."""
    location: str | None = None
    company: str | None = None


class _Samples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app: AppName | None = None


class _Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clear: bool = False
    """Forget the faults that still wait."""
    faults: tuple[Fault, ...] = ()
    inactive: tuple[str, ...] = ()
    """Locations to pause."""
    active: tuple[str, ...] = ()
    """Locations to bring back."""
    limits: Limits | None = None
    exchange_gives_refresh_token: bool | None = None


class _Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: float


async def deliver(request: web.Request) -> web.Response:
    """Sign the bytes of the request and send them once; `fresh=1` stamps them as a new webhook first."""
    vendor = request.app[VENDOR]
    app = _app(vendor, request.query.get("app"))
    scheme = request.query.get("scheme", "ed25519")
    if scheme not in get_args(Scheme):
        raise _bad_request(f"scheme must be one of {', '.join(get_args(Scheme))}")
    raw = await request.read()
    if request.query.get("fresh") in {"1", "true"}:
        raw = _fresh(vendor, app, raw)
    reply = await vendor.sender.send_bytes(
        app, raw, event=request.query.get("event") or None, scheme=_convert(scheme, Scheme)
    )
    return json_response(msgspec.to_builtins(reply))


async def samples(request: web.Request) -> web.StreamResponse:
    """Send every sample as a new webhook; a line a sample, then one with `done`."""
    vendor = request.app[VENDOR]
    return await _stream(request, send_samples(vendor, _app(vendor, (await _read(request, _Samples)).app)))


async def burst(request: web.Request) -> web.StreamResponse:
    """Send many contact events; lines of progress, lines of ids, then one with `done`."""
    vendor = request.app[VENDOR]
    wanted = await _read(request, Burst)
    app = _app(vendor, wanted.app)
    if min(wanted.count, wanted.tenants, wanted.entities_per_tenant, wanted.concurrency) < 1:
        raise _bad_request("count, tenants, entities_per_tenant and concurrency must be 1 or more")
    return await _stream(request, run_burst(vendor, app, wanted))


async def install(request: web.Request) -> web.Response:
    """Install the app on a location (made where it is missing) or for an agency, and send INSTALL."""
    vendor = request.app[VENDOR]
    wanted = await _read(request, _Tenant)
    app = _app(vendor, wanted.app)
    app_id, company = vendor.settings.apps[app].app_id, wanted.company or DEMO_COMPANY
    if wanted.location is not None:
        ensure_location(vendor.store, wanted.location, company)
        fresh = vendor.grants.install(app_id, wanted.location)
    else:
        ensure_company(vendor.store, company)
        fresh = not vendor.store.get("agency", f"{app_id}:{company}")
        vendor.grants.install_agency(app_id, company, bulk=False)
    await vendor.store.flush()
    outcome = await vendor.sender.send_install(app, wanted.location, company)
    return json_response({"new": fresh, **msgspec.to_builtins(outcome)})


async def uninstall(request: web.Request) -> web.Response:
    """Remove the app from a location, or from an agency and all its locations, and send UNINSTALL."""
    vendor = request.app[VENDOR]
    wanted = await _read(request, _Tenant)
    app = _app(vendor, wanted.app)
    tenant = wanted.location or wanted.company
    if tenant is None:
        raise _bad_request("name a location or a company")
    vendor.grants.uninstall(vendor.settings.apps[app].app_id, tenant)
    await vendor.store.flush()
    outcome = await vendor.sender.send_uninstall(app, wanted.location, wanted.company)
    return json_response(msgspec.to_builtins(outcome))


async def seed(request: web.Request) -> web.Response:
    """Make all that the samples tell of."""
    vendor = request.app[VENDOR]
    before = sum(vendor.store.counts().values())
    seed_entities(vendor.store, vendor.samples)
    await vendor.store.flush()
    counts = vendor.store.counts()
    return json_response({"created": sum(counts.values()) - before, "entities": counts})


async def status(request: web.Request) -> web.Response:
    """Tell what there is and what was done since the start."""
    vendor = request.app[VENDOR]
    installs = [key.partition(":")[0] for key, _ in vendor.store.all("install")]
    return json_response(
        {
            "company": DEMO_COMPANY,
            "receiver_url": vendor.sender.receiver_url,
            "apps": {name: {"installed": installs.count(app.app_id)} for name, app in vendor.settings.apps.items()},
            "entities": vendor.store.counts(),
            "webhooks": msgspec.to_builtins(vendor.sender.tally),
            "calls": dict(vendor.calls),
            "limited": vendor.meter.refused,
        }
    )


async def faults(request: web.Request) -> web.Response:
    """Set faults, pause locations, change the limits."""
    vendor = request.app[VENDOR]
    wanted = await _read(request, _Faults)
    if wanted.clear:
        vendor.faults.clear()
    for fault in wanted.faults:
        vendor.faults.add(fault)
    for location in (*wanted.inactive, *wanted.active):
        vendor.grants.set_active(location, active=location in wanted.active)
    if wanted.limits is not None:
        vendor.meter.limits = wanted.limits
    if wanted.exchange_gives_refresh_token is not None:
        vendor.grants.exchange_gives_refresh_token = wanted.exchange_gives_refresh_token
    await vendor.store.flush()
    return json_response({"ok": True})


async def move_clock(request: web.Request) -> web.Response:
    """Let time pass at the vendor."""
    vendor = request.app[VENDOR]
    vendor.clock.move((await _read(request, _Move)).seconds)
    return json_response({"now": vendor.clock.iso()})


async def alive(_request: web.Request) -> web.Response:
    """Answer `/livez` and `/readyz`: a server that answers is ready, since it listens after its state is read."""
    return json_response({"status": "ok"})


def add_routes(app: web.Application) -> None:
    """Add the control routes and health."""
    app.router.add_get("/livez", alive)
    app.router.add_get("/readyz", alive)
    app.router.add_get("/_simulator/status", status)
    for name, handler in (
        ("deliver", deliver),
        ("samples", samples),
        ("burst", burst),
        ("install", install),
        ("uninstall", uninstall),
        ("seed", seed),
        ("faults", faults),
        ("clock", move_clock),
    ):
        app.router.add_post(f"/_simulator/{name}", handler)


def _app(vendor: Vendor, name: str | None) -> AppName:
    """Return the app by name; the only one where none is named."""
    apps = vendor.settings.apps
    if not name and len(apps) == 1:
        return next(iter(apps))
    if name is None or name not in apps:
        raise _bad_request(f"app must be one of {', '.join(sorted(apps))}")
    return AppName(name)


async def _read(request: web.Request, shape: type[_T]) -> _T:
    raw = await request.read()
    try:
        return msgspec.convert(orjson.loads(raw or b"{}"), shape)
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise _bad_request(str(error) if isinstance(error, msgspec.ValidationError) else "not JSON") from None


def _convert(value: str, shape: Any) -> Any:  # noqa: ANN401 -- a Literal is no type to mypy
    return msgspec.convert(value, shape)


def _fresh(vendor: Vendor, app: AppName, raw: bytes) -> bytes:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _bad_request("only JSON can be made a fresh webhook") from None
    return orjson.dumps(vendor.sender.stamped(app, body))


def _bad_request(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=orjson.dumps({"error": message}).decode(), content_type="application/json")


async def _stream(request: web.Request, lines: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async for line in lines:
        await response.write(orjson.dumps(line) + b"\n")
    await response.write_eof()
    return response
