"""Locations: an agency's sub-accounts."""

from levelgate.simulator import refusals
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "locations.readonly"
_WRITE = "locations.write"

LOCATION = Resource(
    kind="location",
    param="locationId",
    wrap="location",
    created_field=None,
    updated_field=None,
    shows_tenant=None,
)


def _create(call: Call) -> Body:
    if call.body["companyId"] != call.principal.company:
        raise refusals.wrong_tenant()
    location_id = LOCATION.new_id()
    body = {"id": location_id, **call.body}
    call.store.put("location", location_id, location_id, body)
    return body


def _update(call: Call) -> Body:
    location_id, location = LOCATION.found(call)
    kept = {"companyId": location["companyId"]}
    return LOCATION.change(call, location_id, {**location, **call.body, **kept})


def _search(call: Call) -> Body:
    principal = call.principal
    locations = [
        entry.body
        for _, entry in call.store.all("location")
        if entry.body.get("companyId") == principal.company and principal.location in {None, entry.body["id"]}
    ]
    if call.query.get("email"):
        locations = [location for location in locations if location.get("email") == call.query["email"]]
    if call.query.get("order") == "desc":
        locations.reverse()
    return {"locations": paging.window(locations, call.query, start="skip", limit=10)}


ROUTES = (
    Route("GET", "/locations/search", _search, _READ, level="either"),
    Route("POST", "/locations/", _create, _WRITE, level="company", required=("name", "companyId")),
    Route("GET", "/locations/{locationId}", LOCATION.get, _READ, level="either"),
    Route("PUT", "/locations/{locationId}", _update, _WRITE, level="company", required=("companyId",)),
)
