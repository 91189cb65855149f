"""Tasks of contacts, and the search over a location's tasks."""

from collections.abc import AsyncGenerator, Sequence

from levelgate.highlevel.api.caller import Caller, Entity, entities
from levelgate.highlevel.paging import by_offset

_PAGE_SIZE = 100


class Tasks:
    """Tasks of contacts."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, contact_id: str, task_id: str) -> Entity:
        """Return a task of a contact."""
        return await self._caller.call_for(
            "task", "contacts.get-task", path={"contactId": contact_id, "taskId": task_id}
        )

    def search(self, *, query: str | None = None, page_size: int = _PAGE_SIZE) -> AsyncGenerator[Entity, None]:
        """Yield the tasks of the location, page after page; `query` narrows them by the vendor's text search."""
        narrowed = {} if query is None else {"query": query}

        async def fetch(skip: int) -> Sequence[Entity]:
            answer = await self._caller.call(
                "locations.task-search",
                path={"locationId": self._caller.tenant},
                json={**narrowed, "skip": skip, "limit": page_size},
            )
            return entities(answer.get("tasks"))

        return by_offset(fetch, key=lambda task: task.get("id") or task.get("_id"))
