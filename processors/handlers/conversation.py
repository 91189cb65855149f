"""Keeps conversations as the vendor has them."""

from levelgate import Context, on
from levelgate.events import ConversationUnreadUpdate, ConversationUpdate
from processors.handlers.mirror import mirror


@on(ConversationUnreadUpdate, coalesce=True)
async def mirror_conversation(event: ConversationUnreadUpdate, ctx: Context) -> None:
    """Re-read the conversation and upsert it; a 404 means it was deleted meanwhile."""
    await _mirror(ctx, event.id)


@on(ConversationUpdate)
async def merge_conversations(event: ConversationUpdate, ctx: Context) -> None:
    """Re-read both sides of a merge: the new conversation is there, the old one mostly not any more."""
    for conversation_id in filter(None, (event.new_conversation_id, event.old_conversation_id)):
        await _mirror(ctx, conversation_id)


async def _mirror(ctx: Context, conversation_id: str) -> None:
    await mirror(ctx, "conversation", conversation_id, lambda: ctx.api.conversations.get(conversation_id))
