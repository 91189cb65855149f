"""Tasks: under their contact, and searched over a location."""

from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "contacts.readonly"
_WRITE = "contacts.write"

TASK = Resource(
    kind="task",
    param="taskId",
    wrap="task",
    created_field=None,
    updated_field=None,
    parent=("contactId", "contactId"),
    parent_kind="contact",
    shows_tenant=None,
    defaults={"completed": False},
)


def _list(call: Call) -> Body:
    return {"tasks": TASK.children(call)}


def _complete(call: Call) -> Body:
    task_id, task = TASK.found(call)
    return TASK.shown(TASK.change(call, task_id, {**task, "completed": bool(call.body["completed"])}))


def _search(call: Call) -> Body:
    wanted = call.body
    tasks = [
        task
        for task in call.listed("task")
        if (not wanted.get("contactId") or task.get("contactId") in wanted["contactId"])
        and (not wanted.get("assignedTo") or task.get("assignedTo") in wanted["assignedTo"])
        and (wanted.get("completed") is None or task.get("completed") == wanted["completed"])
        and str(wanted.get("query") or "").lower() in str(task.get("title") or "").lower()
    ]
    return {"tasks": paging.window(tasks, wanted, start="skip", limit=25)}


ROUTES = (
    Route("GET", "/contacts/{contactId}/tasks", _list, _READ),
    Route("POST", "/contacts/{contactId}/tasks", TASK.create, _WRITE, status=201, required=("title", "dueDate")),
    Route("GET", "/contacts/{contactId}/tasks/{taskId}", TASK.get, _READ),
    Route("PUT", "/contacts/{contactId}/tasks/{taskId}", TASK.update, _WRITE),
    Route("DELETE", "/contacts/{contactId}/tasks/{taskId}", TASK.delete, _WRITE),
    Route("PUT", "/contacts/{contactId}/tasks/{taskId}/completed", _complete, _WRITE, required=("completed",)),
    Route("POST", "/locations/{locationId}/tasks/search", _search, "locations/tasks.readonly"),
)
