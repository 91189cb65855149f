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
