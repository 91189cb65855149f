"""`/oauth/…`: tokens for codes and refresh tokens, the exchange, installed locations; facts.md, OAuth, v2 names."""

import hmac

from aiohttp import web

from levelgate.simulator import refusals
from levelgate.simulator.api import demand, json_response, read_fields
from levelgate.simulator.grants import Grants
from levelgate.simulator.refusals import Refusal
from levelgate.simulator.state import paging
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body
from levelgate.simulator.vendor import VENDOR

_GRANT_TYPES = frozenset({"authorization_code", "refresh_token", "client_credentials"})
_USER_TYPES = frozenset({"Company", "Location"})


async def token(request: web.Request) -> web.Response:
    """Answer `POST /oauth/token`."""
    vendor = request.app[VENDOR]
    fields = {name: value for name, value in (await read_fields(request)).items() if isinstance(value, str)}
    grant_type = fields.get("grant_type")
    vendor.calls[f"POST /oauth/token {grant_type}" if grant_type in _GRANT_TYPES else "POST /oauth/token"] += 1
    demand(fields, ("client_id", "client_secret", "grant_type"))
    if grant_type not in _GRANT_TYPES:
        raise refusals.malformed(["grant_type must be a valid enum value"])
    if fields.get("user_type") not in {None, "", *_USER_TYPES}:
        raise refusals.malformed(["user_type must be a valid enum value"])
    known = vendor.app_of_client(fields["client_id"])
    if known is None or not hmac.compare_digest(
        known[1].client_secret.get_secret_value().encode(), fields["client_secret"].encode()
    ):
        raise refusals.bad_client()
    return json_response(_granted(vendor.grants, known[1].app_id, fields))


def _granted(grants: Grants, app_id: str, fields: dict[str, str]) -> Body:
    match fields["grant_type"]:
        case "authorization_code":
            demand(fields, ("code",))
            return grants.spend_code(app_id, fields["code"], fields.get("redirect_uri"))
        case "refresh_token":
            demand(fields, ("refresh_token",))
            return grants.refresh(app_id, fields["refresh_token"], fields.get("user_type") or None)
        case _:
            # In the enum, explained nowhere (facts.md): unknown what it yields.
            raise Refusal(400, "Unsupported grant type")


async def reconnect(request: web.Request) -> web.Response:
    """Answer `POST /oauth/reconnect`, which is gone."""
    request.app[VENDOR].calls["POST /oauth/reconnect"] += 1
    raise refusals.reconnect_removed()


def _exchange(call: Call) -> Body:
    return call.grants.exchange(call.principal, str(call.body["companyId"]), str(call.body["locationId"]))


def _installed(call: Call) -> Body:
    query, principal = call.query, call.principal
    if query["companyId"] != principal.company or query["appId"] != principal.app_id:
        raise refusals.wrong_tenant()
    rows = call.grants.installed_locations(principal, query.get("locationId"))
    if query.get("isInstalled"):
        wanted = query["isInstalled"].lower() == "true"
        rows = [row for row in rows if row["isInstalled"] is wanted]
    if query.get("query"):
        rows = [row for row in rows if query["query"].lower() in str(row["name"]).lower()]
    return {
        "locations": paging.window(rows, query, start="skip", limit=20),
        "count": len(rows),
        "installToFutureLocations": call.grants.installs_future_locations(principal.app_id, principal.company),
    }


ROUTES = (
    Route("POST", "/oauth/locationToken", _exchange, "oauth.write", "company", required=("companyId", "locationId")),
    Route("GET", "/oauth/installedLocations", _installed, "oauth.readonly", "company", required=("companyId", "appId")),
)
"""The two operations of a company token."""
