"""From a parsed body to its typed event. Pure; the body is trusted to be JSON, not to have any shape."""

from typing import Any

import msgspec

from schemas.errors import WrongShape
from schemas.event_type import EventType
from schemas.events.base import Event, UnknownEvent
from schemas.events.registry import EVENTS

_BASE_FIELDS = {"type": "type", "timestamp": "timestamp", "webhookId": "webhook_id"}


def decode(event_type: EventType, body: dict[str, Any]) -> Event:
    """Return the typed event of `body`; fields that it does not name are kept in `raw`, which is `body` itself.

    Raises WrongShape naming the path, never the value.
    """
    try:
        event = msgspec.convert(body, EVENTS[event_type.wire])
    except msgspec.ValidationError as error:
        raise WrongShape(f"{event_type.wire}: {error}", reason="wrong_shape") from None
    except (RecursionError, OverflowError, ValueError):
        # Not seen with the types as generated, but none of these may end the process that reads a stranger's body.
        raise WrongShape(f"{event_type.wire}: nested too deeply, or numbers too large", reason="wrong_shape") from None
    msgspec.structs.force_setattr(event, "raw", body)
    return event


def decode_unknown(body: dict[str, Any]) -> UnknownEvent:
    """Return an event of a type that the catalogue does not know; any body will do."""
    texts = {attribute: body.get(field) for field, attribute in _BASE_FIELDS.items()}
    return UnknownEvent(raw=body, **{name: text for name, text in texts.items() if isinstance(text, str)})
