"""Conversations: by id, and the search by startAfterDate; their messages are in `messages`."""

from levelgate.simulator.clock import milliseconds
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "conversations.readonly"
_WRITE = "conversations.write"

CONVERSATION = Resource(
    kind="conversation",
    param="conversationId",
    defaults={"deleted": False, "inbox": True, "starred": False, "unreadCount": 0, "type": 1},
    deleted={"success": True},
)


def _changed_at(conversation: Body) -> int:
    return milliseconds(conversation.get("lastMessageDate") or conversation.get("dateUpdated"))


def _create(call: Call) -> Body:
    call.entity("contact", str(call.body["contactId"]))
    body = CONVERSATION.add(call, {**call.body, "lastMessageDate": call.clock.iso()})
    return {"success": True, "conversation": body}


def _update(call: Call) -> Body:
    return {"success": True, "conversation": CONVERSATION.update(call)}


def _search(call: Call) -> Body:
    size = paging.number(call.query, "limit", 20, least=1, most=paging.MAX_LIMIT)
    found = [
        conversation
        for conversation in call.listed("conversation")
        if all(
            str(conversation.get(field)) == call.query[field]
            for field in ("contactId", "assignedTo", "id", "lastMessageType", "lastMessageDirection")
            if call.query.get(field)
        )
        and (call.query.get("status") != "unread" or conversation.get("unreadCount"))
        and (call.query.get("status") != "starred" or conversation.get("starred"))
    ]
    oldest_first = call.query.get("sort") == "asc"
    found.sort(key=_changed_at, reverse=not oldest_first)
    total = len(found)
    if call.query.get("startAfterDate"):
        cursor = paging.number(call.query, "startAfterDate", 0)
        found = [each for each in found if (_changed_at(each) > cursor if oldest_first else _changed_at(each) < cursor)]
    shown = [{**each, "sort": [_changed_at(each)]} for each in found[:size]]
    return {"conversations": shown, "total": total}


ROUTES = (
    Route("GET", "/conversations/search", _search, _READ, required=("locationId",)),
    Route("POST", "/conversations/", _create, _WRITE, status=201, required=("locationId", "contactId")),
    Route("GET", "/conversations/{conversationId}", CONVERSATION.get, _READ),
    Route("PUT", "/conversations/{conversationId}", _update, _WRITE, required=("locationId",)),
    Route("DELETE", "/conversations/{conversationId}", CONVERSATION.delete, _WRITE),
)
