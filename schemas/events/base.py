"""What all typed events share. They never show their content by accident: bodies stay out of logs."""

from typing import Any, ClassVar

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An object within a body. Fields that this class does not name are in the event's `raw`."""

    def __repr__(self) -> str:
        """Say what it is, not what is in it: bodies must not reach logs and exception texts."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show nothing of it in rich's tables and tracebacks either."""
        return []


class Event(Part, frozen=True, kw_only=True):
    """One event, typed. Ids are texts, empty where the body has none; anything else may be None.

    Views of `raw` that are never written back: what is stored and replayed is what was received.
    """

    wire: ClassVar[str] = ""
    """The value of `type` that names this event."""

    raw: dict[str, Any] = msgspec.field(default_factory=dict, name="(raw)")
    """The whole parsed body, with the fields that no class names. (No body has a field of this name.)"""
    type: str = ""
    """As received; another event's name, or none, where the path named this one."""
    timestamp: str = ""
    webhook_id: str = msgspec.field(default="", name="webhookId")


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a type that the catalogue does not know: all of it is in `raw`."""
