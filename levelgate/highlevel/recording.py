"""A call of the API as it is kept instead of made, or beside being made: by the test kit and by rehearsals. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from levelgate.highlevel.client import concrete_path
from schemas.ids import TenantId
from schemas.operations import Operation


class Call(msgspec.Struct, frozen=True):
    """A call of the API that a handler made."""

    named: str
    """Method and path: `GET /contacts/abc`."""
    tenant: str
    query: dict[str, Any]
    json: Any

    @property
    def key(self) -> bytes:
        """What two calls have in common where they are the same, whatever the order of their fields."""
        return orjson.dumps([self.named, self.tenant, self.query, self.json], option=orjson.OPT_SORT_KEYS)


def call_of(
    tenant: TenantId,
    operation: Operation,
    path: Mapping[str, str] | None,
    query: Mapping[str, str | int | bool | None] | None,
    json: Any,  # noqa: ANN401 -- any JSON
) -> Call:
    """Return the call that `HighLevelClient.request` would make of these arguments.

    Raises Permanent where the path lacks a parameter, TypeError where `json` is none.
    """
    named = f"{operation.method} {concrete_path(operation, path or {})}"
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return Call(named, tenant, given, copied(json))


def copied(json: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return the JSON that would travel: what is none fails here, and nobody changes another's."""
    return None if json is None else orjson.loads(orjson.dumps(json))
