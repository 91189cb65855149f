"""One operation of the API: where it is, who may call it, and the plain function that answers it.

The functions see no HTTP: a call in, JSON out, a Refusal raised where the vendor would refuse.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from levelgate.simulator import refusals
from levelgate.simulator.clock import Clock
from levelgate.simulator.grants import Grants, Principal
from levelgate.simulator.store import Body, Entry, Store


class Call(msgspec.Struct, frozen=True):
    """One authorized request."""

    principal: Principal
    store: Store
    grants: Grants
    clock: Clock
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Body

    def entity(self, kind: str, entity_id: str) -> Entry:
        """Return an entity that this caller may see; refuse with 404 or 403."""
        entry = self.store.get(kind, entity_id)
        if entry is None:
            raise refusals.not_found(kind, entity_id)
        self.demand_access(entry.tenant)
        return entry

    def demand_access(self, tenant: str) -> None:
        """Refuse unless `tenant` is the token's location, or one of the token's agency."""
        principal = self.principal
        if tenant == principal.tenant:
            return
        location = self.store.get("location", tenant)
        if principal.level == "company" and location and location.body.get("companyId") == principal.company:
            return
        raise refusals.wrong_tenant()

    def tenant(self) -> str:
        """Return the location that the call is about: the one it names, else the token's."""
        return named_tenant(self.params, self.query, self.body) or self.principal.tenant

    def listed(self, kind: str) -> list[Body]:
        """Return the location's entities of a kind, oldest first."""
        return self.store.of_tenant(kind, self.tenant())


class Route(NamedTuple):
    """A method and a path as the documents write them, with the function that answers."""

    method: str
    path: str
    answer: Callable[[Call], Any]
    scope: str
    level: Literal["location", "company", "either"] = "location"
    status: int = 200
    required: tuple[str, ...] = ()
    """Fields without which the call is malformed: of the body where the method has one, else of the query."""


def named_tenant(params: Mapping[str, str], query: Mapping[str, str], body: Body) -> str | None:
    """Return the location that a request names: in the path, the query or the body, under any of its names."""
    for source in (params, query, body):
        for name in ("locationId", "location_id", "altId"):
            value = source.get(name)
            if isinstance(value, str) and value:
                return value
    return None
