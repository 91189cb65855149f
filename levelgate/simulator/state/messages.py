"""Messages: by id, of a conversation (nested, by lastMessageId), the export by cursor, and sending."""

from collections.abc import Callable

from levelgate.simulator import refusals
from levelgate.simulator.clock import milliseconds
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "conversations/message.readonly"
_WRITE = "conversations/message.write"

MESSAGE = Resource(
    kind="message",
    param="id",
    updated_field=None,
    defaults={"contentType": "text/plain", "attachments": []},
)

TYPES = {"CALL": 1, "SMS": 2, "EMAIL": 3, "WEBCHAT": 5, "VOICEMAIL": 10, "CUSTOM": 20}
"""Numbers of the message types as far as they are needed; the vendor's document has the field, not the numbers."""


def kind_of(channel: object) -> Body:
    """Return the two fields that tell a message's channel."""
    name = str(channel).upper()
    return {"type": TYPES.get(name, 0), "messageType": f"TYPE_{name}"}


def _position(message: Body) -> paging.Position:
    return milliseconds(message.get("dateAdded")), message["id"]


def _of_conversation(call: Call) -> Body:
    conversation_id = call.params["conversationId"]
    tenant = call.entity("conversation", conversation_id).tenant
    size = paging.number(call.query, "limit", 20, least=1, most=paging.MAX_LIMIT)
    messages = [
        message
        for message in call.store.of_tenant("message", tenant)
        if message["conversationId"] == conversation_id
        and (not call.query.get("type") or message.get("messageType") in call.query["type"].split(","))
    ]
    messages = paging.newest_first(messages, _position)
    last = call.query.get("lastMessageId")
    if last:
        messages = paging.after(messages, _position, _position(call.entity("message", last).body))
    shown = messages[:size]
    # Nested twice, other than the document says (issue 54).
    return {
        "messages": {
            "lastMessageId": shown[-1]["id"] if shown else None,
            "nextPage": len(messages) > size,
            "messages": shown,
        }
    }


def _export(call: Call) -> Body:
    size = paging.number(call.query, "limit", 100, least=1, most=500)
    messages = paging.newest_first(
        [
            message
            for message in call.listed("message")
            if all(
                message.get(field) == call.query[field]
                for field in ("conversationId", "contactId")
                if call.query.get(field)
            )
        ],
        _position,
    )
    total, cursor = len(messages), call.query.get("cursor")
    if cursor:
        at, _, last_id = cursor.partition("_")
        if not at.isdigit():
            raise refusals.malformed(["cursor is not one of ours"])
        messages = paging.after(messages, _position, (int(at), last_id))
    shown = messages[:size]
    more = {"nextCursor": "{}_{}".format(*_position(shown[-1]))} if len(messages) > size else {}
    return {"messages": shown, **more, "total": total}


def _send(call: Call) -> Body:
    contact_id = str(call.body["contactId"])
    tenant = call.entity("contact", contact_id).tenant
    conversations = call.store.of_tenant("conversation", tenant)
    known = next((each["id"] for each in conversations if each.get("contactId") == contact_id), None)
    if known is None:
        raise refusals.Refusal(400, "Contact has no conversation")
    message = _add(call, known, direction="outbound", contact_id=contact_id)
    return {"conversationId": known, "messageId": message["id"], "status": "pending"}


def _take(direction: str) -> Callable[[Call], Body]:
    def taken(call: Call) -> Body:
        conversation_id = str(call.body["conversationId"])
        conversation = call.entity("conversation", conversation_id).body
        message = _add(call, conversation_id, direction=direction, contact_id=conversation["contactId"])
        return {
            "success": True,
            "conversationId": conversation_id,
            "messageId": message["id"],
            "message": "Message added successfully",
            "contactId": message["contactId"],
            "dateAdded": message["dateAdded"],
        }

    return taken


def _add(call: Call, conversation_id: str, *, direction: str, contact_id: str) -> Body:
    fields: Body = {
        **kind_of(call.body["type"]),
        "conversationId": conversation_id,
        "contactId": contact_id,
        "direction": direction,
        "status": "pending" if direction == "outbound" else "delivered",
        "body": call.body.get("message") or call.body.get("html") or "",
        "attachments": call.body.get("attachments") or [],
    }
    message = MESSAGE.add(call, fields)
    entry = call.entity("conversation", conversation_id)
    latest = {"lastMessageDate": message["dateAdded"], "lastMessageBody": fields["body"]}
    call.store.put("conversation", conversation_id, entry.tenant, {**entry.body, **latest})
    return message


def _set_status(call: Call) -> Body:
    message_id = call.params["messageId"]
    message = call.entity("message", message_id).body
    MESSAGE.change(call, message_id, {**message, "status": call.body["status"]})
    return {"conversationId": message["conversationId"], "messageId": message_id, "status": call.body["status"]}


ROUTES = (
    Route("POST", "/conversations/messages", _send, _WRITE, required=("type", "contactId")),
    Route("GET", "/conversations/messages/export", _export, _READ, required=("locationId",)),
    Route("POST", "/conversations/messages/inbound", _take("inbound"), _WRITE, required=("type", "conversationId")),
    Route("POST", "/conversations/messages/outbound", _take("outbound"), _WRITE, required=("type", "conversationId")),
    Route("GET", "/conversations/messages/email/{id}", MESSAGE.get, _READ),
    Route("GET", "/conversations/messages/{id}", MESSAGE.get, _READ),
    Route("PUT", "/conversations/messages/{messageId}/status", _set_status, _WRITE, required=("status",)),
    Route("GET", "/conversations/{conversationId}/messages", _of_conversation, _READ),
)
