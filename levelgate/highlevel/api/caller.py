"""What the API's modules share: a call under a fixed app and tenant, and the entity out of its answer."""

from collections.abc import Mapping
from typing import Any

from levelgate.highlevel.client import HighLevelClient, OnCall
from levelgate.highlevel.lanes import Lane
from schemas.errors import ApiUnavailable
from schemas.ids import AppName, TenantId
from schemas.operations import OPERATIONS

Entity = dict[str, Any]
"""One entity as the vendor answers it: a JSON object."""


# Read now, at import: the look-up that is first would otherwise read the file inside the event loop.
_OPERATIONS = dict(OPERATIONS)


class Unmade(Entity):
    """The answer to a call that was not made but kept (a rehearsal's): an object with nothing in it."""


class Caller:
    """`HighLevelClient.request` with the app, the tenant, the listener and the lane filled in."""

    __slots__ = ("_app", "_client", "_lane", "_on_call", "tenant")

    def __init__(
        self, client: HighLevelClient, app: AppName, tenant: TenantId, on_call: OnCall | None, lane: Lane
    ) -> None:
        self._client = client
        self._app = app
        self._on_call = on_call
        self._lane = lane
        self.tenant = tenant

    async def call(
        self,
        operation_id: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        json: Any = None,  # noqa: ANN401 -- any JSON
    ) -> Entity:
        """Call an operation by its id (`contacts.get-contact`) and return its answer, which must be an object."""
        answer = await self._client.request(
            self._app,
            self.tenant,
            _OPERATIONS[operation_id],
            path=path,
            query=query,
            json=json,
            on_call=self._on_call,
            lane=self._lane,
        )
        return _object(answer, operation_id)

    async def call_for(
        self,
        field: str,
        operation_id: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
    ) -> Entity:
        """Call an operation whose answer wraps the entity in `field`, and return the entity."""
        answer = await self.call(operation_id, path=path, query=query)
        return answer if isinstance(answer, Unmade) else _object(answer.get(field), operation_id)


def entities(value: Any) -> list[Entity]:  # noqa: ANN401 -- any JSON
    """Return the objects of a list; anything else is no entity."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _object(value: Any, operation_id: str) -> Entity:  # noqa: ANN401 -- any JSON
    if not isinstance(value, dict):
        raise ApiUnavailable(f"{operation_id} answered a success without the object that its documents promise")
    return value
