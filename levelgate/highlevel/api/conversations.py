"""Conversations of a location."""

from levelgate.highlevel.api.caller import Caller, Entity


class Conversations:
    """Conversations of a location."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, conversation_id: str) -> Entity:
        """Return a conversation, without its messages."""
        return await self._caller.call("conversations.get-conversation", path={"conversationId": conversation_id})
