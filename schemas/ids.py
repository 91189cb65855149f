"""Identifiers that could be swapped by mistake, each its own type. Plain strings at run time."""

from typing import NewType

AppName = NewType("AppName", str)
"""Our name of an app: the `{app}` of paths, `[a-z0-9-]+`."""

AppId = NewType("AppId", str)
"""The vendor's id of an app: its client id up to the first `-`."""

TenantId = NewType("TenantId", str)
"""A location id, else a company id: what budgets, tokens and partitions belong to."""

LocationId = NewType("LocationId", str)
CompanyId = NewType("CompanyId", str)

EntityId = NewType("EntityId", str)
"""The vendor's id of what changed: a contact, an invoice, …; order is kept per (tenant, entity)."""

DeliveryId = NewType("DeliveryId", str)
"""One webhook's identity within its app: the body's `webhookId`, else a hash of the body."""
