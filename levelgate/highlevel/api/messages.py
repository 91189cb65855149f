"""Messages of conversations: single ones, e-mails, and all of a conversation."""

from collections.abc import AsyncGenerator

from levelgate.highlevel.api.caller import Caller, Entity, entities
from levelgate.highlevel.paging import Page, by_cursor

_PAGE_SIZE = 100


class Messages:
    """Messages of conversations."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, message_id: str) -> Entity:
        """Return a message."""
        return await self._caller.call("conversations.get-message", path={"id": message_id})

    async def get_email(self, email_message_id: str) -> Entity:
        """Return one e-mail of an e-mail message."""
        return await self._caller.call("conversations.get-email-by-id", path={"id": email_message_id})

    def of_conversation(self, conversation_id: str, *, page_size: int = _PAGE_SIZE) -> AsyncGenerator[Entity, None]:
        """Yield a conversation's messages, newest first, page after page."""

        async def fetch(last_message_id: str | None) -> Page:
            answer = await self._caller.call(
                "conversations.get-messages",
                path={"conversationId": conversation_id},
                query={"lastMessageId": last_message_id, "limit": page_size},
            )
            # The documents have one level, real answers two: messages.messages (facts.md §4, Paging).
            nested = answer.get("messages")
            page = nested if isinstance(nested, dict) else answer
            last = page.get("lastMessageId")
            has_more = page.get("nextPage") is True and isinstance(last, str)
            return Page(entities(page.get("messages")), last if has_more else None)

        return by_cursor(fetch, key=lambda message: message.get("id"))
