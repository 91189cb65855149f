"""The built-in handlers: the mirror tables of the vendor's entities, and the installations; a module a family."""

from types import ModuleType

from processors.handlers import (
    app,
    appointment,
    contact,
    conversation,
    invoice,
    location,
    message,
    note,
    opportunity,
    order,
    price,
    product,
    task,
    user,
)
from schemas.settings import Settings

LIFECYCLE: tuple[ModuleType, ...] = (app,)
"""Wanted always: without them an install or uninstall would go unnoticed."""

SYNC: tuple[ModuleType, ...] = (
    appointment,
    contact,
    conversation,
    invoice,
    location,
    message,
    note,
    opportunity,
    order,
    price,
    product,
    task,
    user,
)
"""The mirror tables; the setting `sync` switches them off."""

BUILT_IN: tuple[ModuleType, ...] = LIFECYCLE + SYNC


def built_in(settings: Settings) -> tuple[ModuleType, ...]:
    """Return the built-in modules that workers run with these settings."""
    return BUILT_IN if settings.sync else LIFECYCLE
