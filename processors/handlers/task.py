"""Keeps tasks as the vendor has them.

The vendor gives a task under its contact only, and its own events may name none (facts.md §6, issue 332).
"""

from contextlib import aclosing

from levelgate import Context, on
from levelgate.events import TaskComplete, TaskCreate, TaskDelete
from levelgate.highlevel.api import Entity
from processors.handlers.mirror import clock, forget, keep, kept, mirror
from schemas.errors import Permanent

_SEARCHED = 2000
"""Tasks looked through for one: a fifth of the calls that the vendor allows in ten seconds."""


@on(TaskCreate, TaskComplete)
async def mirror_task(event: TaskCreate | TaskComplete, ctx: Context) -> None:
    """Re-read the task and upsert it; a 404 means that it, or its contact, was deleted meanwhile."""
    contact_id = event.contact_id or (await kept(ctx, "task", event.id)).get("contactId")
    if contact_id:
        await mirror(ctx, "task", event.id, lambda: ctx.api.tasks.get(contact_id, event.id))
        return
    read_at = await clock(ctx)
    task = await _find(event, ctx)
    if task is None:
        await forget(ctx, "task", event.id)
    else:
        await keep(ctx, "task", event.id, task, read_at)


@on(TaskDelete, coalesce=True)
async def forget_task(event: TaskDelete, ctx: Context) -> None:
    """Remove the task."""
    await forget(ctx, "task", event.id)


async def _find(event: TaskCreate | TaskComplete, ctx: Context) -> Entity | None:
    """Search the location's tasks, by the title first; None: there is no such task."""
    for query in dict.fromkeys((event.title or None, None)):
        async with aclosing(ctx.api.tasks.search(query=query)) as tasks:
            looked_at = 0
            async for task in tasks:
                if event.id in {task.get("id"), task.get("_id")}:
                    return task
                looked_at += 1
                if looked_at == _SEARCHED:
                    raise Permanent(f"the {event.wire} names no contact; it is not among {_SEARCHED} of its location")
    return None
