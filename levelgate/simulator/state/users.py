"""Users: of an agency, each with the locations that the user may see."""

from levelgate.simulator import refusals
from levelgate.simulator.names import new_id
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "users.readonly"
_WRITE = "users.write"

USER = Resource(
    kind="user",
    param="userId",
    created_field=None,
    updated_field=None,
    shows_tenant=None,
    deleted={"succeded": True, "message": "Queued deleting user with the given id"},
)

_SECRET = ("password",)


def _mine(call: Call) -> list[Body]:
    principal = call.principal
    tenants = [principal.location] if principal.location else _locations(call)
    return [user for tenant in tenants for user in call.store.of_tenant("user", tenant)]


def _locations(call: Call) -> list[str]:
    return [key for key, entry in call.store.all("location") if entry.body.get("companyId") == call.principal.company]


def _create(call: Call) -> Body:
    match call.body["locationIds"]:
        case [str(first), *_]:
            call.demand_access(first)
        case _:
            raise refusals.malformed(["locationIds must be an array of ids"])
    fields = {name: value for name, value in call.body.items() if name not in {*_SECRET, "type", "role", "locationIds"}}
    roles = {name: call.body[name] for name in ("type", "role", "locationIds")}
    user_id = new_id()
    name = f"{fields['firstName']} {fields['lastName']}"
    user = {"id": user_id, "name": name, **fields, "roles": roles}
    call.store.put("user", user_id, first, user)
    return user


def _update(call: Call) -> Body:
    user_id, user = USER.found(call)
    fields = {name: value for name, value in call.body.items() if name not in {*_SECRET, "type", "role", "locationIds"}}
    return USER.change(call, user_id, {**user, **fields})


def _of_location(call: Call) -> Body:
    return {"users": call.listed("user")}


def _search(call: Call) -> Body:
    if call.query["companyId"] != call.principal.company:
        raise refusals.wrong_tenant()
    wanted = call.query.get("locationId")
    text = call.query.get("query", "").lower()
    ids = call.query.get("ids")
    users = [
        user
        for user in _mine(call)
        if (not wanted or wanted in user["roles"]["locationIds"])
        and (not ids or user["id"] in ids.split(","))
        and any(text in str(user.get(field) or "").lower() for field in ("name", "email", "phone"))
    ]
    return {"users": paging.window(users, call.query, start="skip", limit=25), "count": len(users)}


def _by_email(call: Call) -> Body:
    if call.body["companyId"] != call.principal.company:
        raise refusals.wrong_tenant()
    emails = {email.strip().lower() for email in str(call.body["emails"]).split(",")}
    users = [user for user in _mine(call) if str(user.get("email") or "").lower() in emails]
    return {"users": paging.window(users, call.body, start="skip", limit=25), "count": len(users)}


ROUTES = (
    Route("GET", "/users/search", _search, _READ, level="either", required=("companyId",)),
    Route(
        "POST",
        "/users/search/filter-by-email",
        _by_email,
        _READ,
        level="company",
        required=("companyId", "emails"),
    ),
    Route("GET", "/users/", _of_location, _READ, required=("locationId",)),
    Route(
        "POST",
        "/users/",
        _create,
        _WRITE,
        level="either",
        status=201,
        required=("companyId", "firstName", "lastName", "email", "password", "type", "role", "locationIds"),
    ),
    Route("GET", "/users/{userId}", USER.get, _READ, level="either"),
    Route("PUT", "/users/{userId}", _update, _WRITE, level="either"),
    Route("DELETE", "/users/{userId}", USER.delete, _WRITE, level="either"),
)
