"""What entities of most kinds have in common: get, create, update and delete, as a table of how each kind does it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from levelgate.simulator import refusals
from levelgate.simulator.names import new_id
from levelgate.simulator.state.route import Call
from levelgate.simulator.store import Body

_ENVELOPE_FIELDS = frozenset({"altType"})


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of entity, and the names under which the API shows it."""

    kind: str
    param: str
    """The path parameter that holds the id."""
    wrap: str | None = None
    """The key around the entity in answers; none: it stands alone."""
    id_field: str = "id"
    new_id: Callable[[], str] = new_id
    created_field: str | None = "dateAdded"
    updated_field: str | None = "dateUpdated"
    parent: tuple[str, str] | None = None
    """A path parameter and the entity's field that must be equal to it."""
    parent_kind: str | None = None
    shows_tenant: str | None = "locationId"
    """The field that names the location, where the API shows one."""
    defaults: Mapping[str, Any] = MappingProxyType({})
    deleted: Mapping[str, Any] = MappingProxyType({"succeded": True})  # the vendor's spelling

    def get(self, call: Call) -> Body:
        """Answer one entity."""
        return self.shown(self.found(call)[1])

    def create(self, call: Call) -> Body:
        """Make one of the body's fields."""
        return self.shown(self.add(call, call.body))

    def update(self, call: Call) -> Body:
        """Put the body's fields over the entity's."""
        entity_id, body = self.found(call)
        return self.shown(self.change(call, entity_id, {**body, **_fields(call.body)}))

    def delete(self, call: Call) -> Body:
        """Remove it."""
        entity_id, _ = self.found(call)
        call.store.remove(self.kind, entity_id)
        return dict(self.deleted)

    def found(self, call: Call) -> tuple[str, Body]:
        """Return id and body of the entity that the path names; refuse with 404 or 403."""
        self._demand_parent(call)
        entity_id = call.params[self.param]
        body = call.entity(self.kind, entity_id).body
        if self.parent is not None and body.get(self.parent[1]) != call.params[self.parent[0]]:
            raise refusals.not_found(self.kind, entity_id)
        return entity_id, body

    def add(self, call: Call, fields: Body) -> Body:
        """Store a new entity and return it."""
        tenant = self._demand_parent(call) or call.tenant()
        entity_id = self.new_id()
        body = {self.id_field: entity_id, **self.defaults, **_fields(fields)}
        if self.shows_tenant is not None:
            body[self.shows_tenant] = tenant
        if self.parent is not None:
            body[self.parent[1]] = call.params[self.parent[0]]
        for field in (self.created_field, self.updated_field):
            if field is not None:
                body[field] = call.clock.iso()
        call.store.put(self.kind, entity_id, tenant, body)
        return body

    def change(self, call: Call, entity_id: str, body: Body) -> Body:
        """Store the entity's new body, which can't change its id or location, and return it."""
        entry = call.entity(self.kind, entity_id)
        kept = {self.id_field, self.shows_tenant, *([self.parent[1]] if self.parent else [])}
        body = {**body, **{field: entry.body[field] for field in kept if field in entry.body}}
        if self.updated_field is not None:
            body[self.updated_field] = call.clock.iso()
        call.store.put(self.kind, entity_id, entry.tenant, body)
        return body

    def children(self, call: Call) -> list[Body]:
        """Return the entities under the parent that the path names, oldest first."""
        if self.parent is None:
            return call.listed(self.kind)
        tenant = self._demand_parent(call) or call.tenant()
        param, field = self.parent
        return [body for body in call.store.of_tenant(self.kind, tenant) if body.get(field) == call.params[param]]

    def shown(self, body: Body) -> Body:
        """Return the entity as answers carry it."""
        return {self.wrap: body} if self.wrap else body

    def _demand_parent(self, call: Call) -> str | None:
        if self.parent is None or self.parent_kind is None:
            return None
        return call.entity(self.parent_kind, call.params[self.parent[0]]).tenant


def _fields(body: Body) -> Body:
    return {name: value for name, value in body.items() if name not in _ENVELOPE_FIELDS}
