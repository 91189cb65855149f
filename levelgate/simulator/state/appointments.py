"""Appointments: `/calendars/events/…`; calendars themselves are only ids here."""

from levelgate.simulator import refusals
from levelgate.simulator.clock import milliseconds
from levelgate.simulator.state import paging
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Call, Route
from levelgate.simulator.store import Body

_READ = "calendars/events.readonly"
_WRITE = "calendars/events.write"

APPOINTMENT = Resource(
    kind="appointment",
    param="eventId",
    wrap="event",
    defaults={"appointmentStatus": "confirmed", "groupId": "", "users": []},
    deleted={"succeeded": True},
)

# An answer to create and update lacks both (issue 246).
_ABSENT = ("dateAdded", "dateUpdated")
_FILTERS = {"userId": "assignedUserId", "calendarId": "calendarId", "groupId": "groupId"}


def _flat(body: Body) -> Body:
    return {name: value for name, value in body.items() if name not in _ABSENT}


def _create(call: Call) -> Body:
    return _flat(APPOINTMENT.add(call, call.body))


def _update(call: Call) -> Body:
    event_id, event = APPOINTMENT.found(call)
    return _flat(APPOINTMENT.change(call, event_id, {**event, **call.body}))


def _list(call: Call) -> Body:
    wanted = {field: call.query[name] for name, field in _FILTERS.items() if call.query.get(name)}
    if not wanted:
        raise refusals.malformed(["one of userId, calendarId and groupId is required"])
    first, last = paging.number(call.query, "startTime", 0), paging.number(call.query, "endTime", 0)
    return {
        "events": [
            event
            for event in call.listed("appointment")
            if all(event.get(field) == value for field, value in wanted.items())
            and first <= milliseconds(event.get("startTime")) <= last
        ]
    }


def _of_contact(call: Call) -> Body:
    contact_id = call.params["contactId"]
    tenant = call.entity("contact", contact_id).tenant
    events = call.store.of_tenant("appointment", tenant)
    return {"events": [event for event in events if event.get("contactId") == contact_id]}


ROUTES = (
    Route(
        "POST",
        "/calendars/events/appointments",
        _create,
        _WRITE,
        required=("calendarId", "locationId", "contactId", "startTime"),
    ),
    Route("GET", "/calendars/events/appointments/{eventId}", APPOINTMENT.get, _READ),
    Route("PUT", "/calendars/events/appointments/{eventId}", _update, _WRITE),
    Route("DELETE", "/calendars/events/{eventId}", APPOINTMENT.delete, _WRITE, status=201),
    Route("GET", "/calendars/events", _list, _READ, required=("locationId", "startTime", "endTime")),
    Route("GET", "/contacts/{contactId}/appointments", _of_contact, "contacts.readonly"),
)
