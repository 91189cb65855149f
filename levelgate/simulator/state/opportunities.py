"""Opportunities: by id, and both searches (GET by startAfter and startAfterId, POST by searchAfter or page)."""

from levelgate.simulator import refusals
from levelgate.simulator.clock import milliseconds
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "opportunities.readonly"
_WRITE = "opportunities.write"

OPPORTUNITY = Resource(
    kind="opportunity",
    param="id",
    wrap="opportunity",
    created_field="createdAt",
    updated_field="updatedAt",
    defaults={"status": "open", "customFields": [], "followers": []},
)

# The query of v2 is in snake case; the names of the fields are not.
_FILTERS = {
    "pipeline_id": "pipelineId",
    "pipeline_stage_id": "pipelineStageId",
    "contact_id": "contactId",
    "assigned_to": "assignedTo",
    "id": "id",
}


def _position(opportunity: Body) -> paging.Position:
    return milliseconds(opportunity.get("createdAt")), opportunity["id"]


def _found(call: Call) -> list[Body]:
    status = call.query.get("status", "all")
    found = [
        opportunity
        for opportunity in call.listed("opportunity")
        if all(opportunity.get(field) == call.query[name] for name, field in _FILTERS.items() if call.query.get(name))
        and status in {"all", opportunity.get("status")}
        and call.query.get("q", "").lower() in str(opportunity.get("name") or "").lower()
    ]
    return paging.newest_first(found, _position)


def _search(call: Call) -> Body:
    size = paging.number(call.query, "limit", 20, least=1, most=paging.MAX_LIMIT)
    found = _found(call)
    if call.query.get("startAfterId"):
        cursor = paging.number(call.query, "startAfter", 0), call.query["startAfterId"]
        shown = paging.after(found, _position, cursor)[:size]
    else:
        shown = list(paging.page(found, call.query, size))
    current = paging.number(call.query, "page", 1, least=1)
    meta: Body = {"total": len(found), "currentPage": current, "prevPage": current - 1 or None}
    meta["nextPage"] = current + 1 if current * size < len(found) else None
    if shown:
        meta["startAfter"], meta["startAfterId"] = _position(shown[-1])
    return {"opportunities": shown, "meta": meta, "aggregations": {}}


def _search_advanced(call: Call) -> Body:
    size = paging.number(call.body, "limit", 20, least=1, most=paging.MAX_LIMIT)
    text = str(call.body.get("query") or "").lower()
    found = paging.newest_first(
        [each for each in call.listed("opportunity") if text in str(each.get("name") or "").lower()], _position
    )
    match call.body.get("searchAfter"):
        case None | []:
            shown = list(paging.page(found, call.body, size))
        case [int() | str() as at, str(last_id)] if str(at).isdigit():
            shown = paging.after(found, _position, (int(at), last_id))[:size]
        case _:
            raise refusals.malformed(["searchAfter must be the sort values of the last opportunity"])
    return {
        "opportunities": [{**each, "sort": list(_position(each))} for each in shown],
        "total": len(found),
        "aggregations": {},
    }


def _set_status(call: Call) -> Body:
    opportunity_id, opportunity = OPPORTUNITY.found(call)
    changed = {**opportunity, "status": call.body["status"], "lastStatusChangeAt": call.clock.iso()}
    OPPORTUNITY.change(call, opportunity_id, changed)
    return {"succeded": True}


def _upsert(call: Call) -> Body:
    known = call.store.get("opportunity", str(call.body.get("id", "")))
    if known is None:
        return {"opportunity": OPPORTUNITY.add(call, call.body), "new": True}
    call.demand_access(known.tenant)
    return {"opportunity": OPPORTUNITY.change(call, known.body["id"], {**known.body, **call.body}), "new": False}


ROUTES = (
    Route("GET", "/opportunities/search", _search, _READ, required=("location_id",)),
    Route("POST", "/opportunities/search", _search_advanced, _READ, required=("locationId",)),
    Route("POST", "/opportunities/upsert", _upsert, _WRITE, required=("pipelineId", "locationId")),
    Route(
        "POST",
        "/opportunities/",
        OPPORTUNITY.create,
        _WRITE,
        status=201,
        required=("pipelineId", "locationId", "name", "status", "contactId"),
    ),
    Route("GET", "/opportunities/{id}", OPPORTUNITY.get, _READ),
    Route("PUT", "/opportunities/{id}", OPPORTUNITY.update, _WRITE),
    Route("PUT", "/opportunities/{id}/status", _set_status, _WRITE, required=("status",)),
    Route("DELETE", "/opportunities/{id}", OPPORTUNITY.delete, _WRITE),
)
