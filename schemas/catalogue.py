"""The event catalogue: every event type of HighLevel's that is known, and where its tenant and entity stand.

Pure. It never judges a body's shape (`schemas.validation` does), and knows no type that the vendor's pages don't.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from schemas.event_table import EVENT_TYPES
from schemas.event_type import EventType
from schemas.ids import CompanyId, EntityId, TenantId

__all__ = ["CATALOGUE", "FAMILIES", "PROVIDER_MESSAGE", "EventType", "company_of", "entity_of", "lookup", "tenant_of"]

CATALOGUE: Mapping[str, EventType] = MappingProxyType({event_type.wire: event_type for event_type in EVENT_TYPES})
"""Every event type by its wire name."""

FAMILIES: tuple[str, ...] = tuple(sorted({event_type.family for event_type in EVENT_TYPES}))

PROVIDER_MESSAGE = "ProviderOutboundMessage"
"""Our name for the conversation provider's message, whose `type` is the channel."""

_MAX_ID_LENGTH = 200
_NO_ID = "-"  # `schemas.envelope` writes it for a tenant that is not known

_BY_NAME = {alias: event_type for event_type in EVENT_TYPES for alias in event_type.aliases} | dict(CATALOGUE)

_LOCATION_FIELDS = ("locationId", "altId")
_COMPANY_FIELDS = ("companyId",)


def lookup(name: str) -> EventType | None:
    """Return the event type of this wire name or alias, in exactly this case."""
    return _BY_NAME.get(name)


def tenant_of(event_type: EventType | None, body: Mapping[str, Any]) -> TenantId | None:
    """Return the body's location, else its company; None where it names neither in a usable way.

    The fields of its type come first, then those that the vendor's events commonly have; for a type
    that the catalogue does not know (None) there are only the latter.
    """
    location = _location_of(event_type.location_fields if event_type else (), body)
    return TenantId(location) if location else _as_tenant(company_of(event_type, body))


def company_of(event_type: EventType | None, body: Mapping[str, Any]) -> CompanyId | None:
    """Return the company (agency) that the body names, if any."""
    company = _first_id(event_type.company_fields if event_type else (), body) or _first_id(_COMPANY_FIELDS, body)
    return CompanyId(company) if company else None


def entity_of(event_type: EventType | None, body: Mapping[str, Any]) -> EntityId | None:
    """Return the id of what changed; None for a type that is not in the catalogue, or where no field has it."""
    for path in event_type.entity_fields if event_type else ():
        value: Any = body
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if _is_id(value):
            return EntityId(value)
    return None


def _location_of(fields: tuple[str, ...], body: Mapping[str, Any]) -> str | None:
    # altId may be another thing's id (invoices): altType says so.
    alt_is_location = body.get("altType") == "location"
    return _first_id((field for field in (*fields, *_LOCATION_FIELDS) if field != "altId" or alt_is_location), body)


def _first_id(fields: Iterable[str], body: Mapping[str, Any]) -> str | None:
    return next((value for field in fields if _is_id(value := body.get(field))), None)


def _as_tenant(company: CompanyId | None) -> TenantId | None:
    return TenantId(company) if company else None


def _is_id(value: object) -> bool:
    # isprintable() also refuses control characters and lone surrogates: ids travel in headers and logs.
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_ID_LENGTH
        and value.isprintable()
        and not value.isspace()
        and value != _NO_ID
    )
