"""Whether a body has the shape of its event type. Pure, and bounded in time however hostile the body."""

from typing import Any

from schemas.event_type import EventType
from schemas.events.decoding import decode


def validate(event_type: EventType, body: dict[str, Any]) -> None:
    """Check one body (one element of a list).

    Unknown fields are accepted, and null for scalars that are not ids; no field is required.
    Raises WrongShape naming the path, never the value.
    """
    decode(event_type, body)
