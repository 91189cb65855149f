"""Typed events for handlers: `from levelgate.events import ContactCreate`. Only what `schemas.events` defines."""

from schemas.events import *  # noqa: F403 -- all of its public names, listed once, by the generator
from schemas.events import __all__ as __all__  # noqa: PLC0414 -- the same list
