"""The consent page: what an app asks for, and the redirect with a code; `approve=1` in the query says yes at once."""

from html import escape
from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import web

from levelgate.simulator.grants import Principal
from levelgate.simulator.state import ROUTES
from levelgate.simulator.vendor import VENDOR, Vendor
from schemas.ids import AppName
from schemas.settings import App

PATH = "/v2/oauth/chooselocation"

DEMO_COMPANY = "Zp8dK1mWc6EoVu5JgNt2"
"""The agency whose user looks at the page, unless the query's `company` names another."""

KNOWN_SCOPES = frozenset({route.scope for route in ROUTES} | {"oauth.readonly", "oauth.write"})
"""What an app without registered scopes may ask for: all that is simulated."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>{content}</body></html>
"""


class _Refused(Exception):
    """The request can't be shown for consent, in one sentence."""


async def choose_location(request: web.Request) -> web.Response:
    """Answer `GET` (the page) and `POST` (the yes) of `/v2/oauth/chooselocation`."""
    vendor = request.app[VENDOR]
    asked = {**request.query, **{name: str(value) for name, value in (await request.post()).items()}}
    try:
        name, app, scopes = _checked(vendor, asked)
    except _Refused as refused:
        return _page("This app can't be installed", f"<p>{escape(str(refused))}</p>", status=400)
    if request.method == "GET" and asked.get("approve") != "1":
        return _page(f"Install {name}?", _form(name, scopes, asked))
    if not scopes <= _registered(app):
        # Told only after consent, in the browser, with no callback (issue 311).
        return _page("Integration cannot be added", "<p>It asks for a scope that does not exist.</p>", status=400)
    code = _install(vendor, name, app, scopes, asked)
    await vendor.store.flush()
    answer = {"code": code, **({"state": asked["state"]} if "state" in asked else {})}
    raise web.HTTPFound(_with_query(asked["redirect_uri"], answer))


def _checked(vendor: Vendor, asked: dict[str, str]) -> tuple[AppName, App, set[str]]:
    known = vendor.app_of_client(asked.get("client_id", ""))
    if known is None:
        raise _Refused(f"No integration found with the id: {asked.get('client_id', '')}")
    if asked.get("response_type") != "code":
        raise _Refused("response_type must be code.")
    if not _is_callback(vendor, asked.get("redirect_uri", "")):
        raise _Refused("redirect_uri is not one that the app has registered.")
    name, app = known
    return name, app, set(asked.get("scope", "").split()) or _registered(app)


def _registered(app: App) -> set[str]:
    return set(app.scopes or KNOWN_SCOPES)


def _is_callback(vendor: Vendor, uri: str) -> bool:
    """Whether `uri` is a callback of our receiver; on this machine any port will do, since tests take free ones."""
    parts = urlsplit(uri)
    base = f"{parts.scheme}://{parts.netloc}"
    ours = {vendor.settings.receiver.public_url.rstrip("/"), vendor.sender.receiver_url.rstrip("/")}
    return parts.scheme in {"http", "https"} and (base in ours or parts.hostname in _LOOPBACK) and not parts.fragment


def _install(vendor: Vendor, name: AppName, app: App, scopes: set[str], asked: dict[str, str]) -> str:
    """Install as the person chose: one location, or the agency (in bulk, where the app is for locations)."""
    location = asked.get("location") or None
    company = asked.get("company") or DEMO_COMPANY
    if location is not None and app.level == "location":
        fresh = [location] if vendor.grants.install(app.app_id, location) else []
    else:
        location = None
        fresh = vendor.grants.install_agency(app.app_id, company, bulk=app.level == "location")
        if app.level == "company":
            vendor.sender.announce_install(name, None, company)
    for each in fresh:
        vendor.sender.announce_install(name, each, company)
    principal = Principal(
        app_id=app.app_id,
        level="company" if location is None else "location",
        company=company,
        location=location,
        scopes=tuple(sorted(scopes)),
        bulk=location is None and app.level == "location",
    )
    return vendor.grants.code(principal, asked["redirect_uri"])


def _form(name: str, scopes: set[str], asked: dict[str, str]) -> str:
    listed = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in sorted(scopes))
    kept = ("response_type", "client_id", "redirect_uri", "scope", "state")
    hidden = "".join(
        f'<input type="hidden" name="{field}" value="{escape(asked[field])}">' for field in kept if field in asked
    )
    return (
        f"<p><strong>{escape(name)}</strong> asks for:</p><ul>{listed}</ul>"
        f'<form method="post" action="{PATH}">{hidden}'
        f'<p><label>Agency <input name="company" value="{DEMO_COMPANY}"></label></p>'
        '<p><label>One location only (its id; empty: all of the agency) <input name="location"></label></p>'
        '<p><button type="submit">Install</button></p></form>'
    )


def _page(title: str, content: str, *, status: int = 200) -> web.Response:
    text = _PAGE.format(title=escape(title), content=content)
    return web.Response(text=text, status=status, content_type="text/html")


def _with_query(uri: str, answer: dict[str, str]) -> str:
    parts = urlsplit(uri)
    query = "&".join(filter(None, (parts.query, urlencode(answer))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
