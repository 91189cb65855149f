"""Keeps messages as the vendor has them.

The documented SMS bodies name no message, the e-mail's only an e-mail message: what is named is read.
"""

from contextlib import aclosing

from levelgate import Context, on
from levelgate.events import InboundMessage, OutboundMessage
from levelgate.highlevel.api import Entity
from processors.handlers.mirror import clock, keep, mirror
from schemas.errors import ApiNotFound, Permanent

_LATEST = 20
"""How many of a conversation's messages are read where the event does not say which: one page, one call."""


@on(InboundMessage, OutboundMessage)
async def mirror_message(event: InboundMessage | OutboundMessage, ctx: Context) -> None:
    """Re-read the message and upsert it; without an id, the latest messages of its conversation."""
    message_id, email_id = event.message_id, event.email_message_id
    if message_id:
        await mirror(ctx, "message", message_id, lambda: ctx.api.messages.get(message_id))
    elif email_id:
        await mirror(ctx, "message", email_id, lambda: ctx.api.messages.get_email(email_id))
    elif event.conversation_id:
        await _mirror_latest(ctx, event.conversation_id)
    else:
        raise Permanent(f"the {ctx.delivery.type} names no message and no conversation")


async def _mirror_latest(ctx: Context, conversation_id: str) -> None:
    read_at = await clock(ctx)
    read: list[Entity] = []
    try:
        async with aclosing(ctx.api.messages.of_conversation(conversation_id, page_size=_LATEST)) as messages:
            async for message in messages:
                read.append(message)
                if len(read) == _LATEST:
                    break
    except ApiNotFound:
        return  # the conversation was deleted meanwhile
    for message in read:
        if isinstance(message.get("id"), str):
            await keep(ctx, "message", message["id"], message, read_at)
