"""Which handlers there are, and which run for an event type: built from modules, never from import side effects."""

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from levelgate import MARK, Mark, Overrides
from schemas.catalogue import lookup
from schemas.errors import Misconfigured


class Handler(msgspec.Struct, frozen=True):
    """One handler: a unit of done, parked and dead by itself."""

    name: str
    types: tuple[str, ...]
    """Wire names, aliases resolved; a name that the catalogue doesn't know stands as it is."""
    function: Callable[[Any, Any], Awaitable[None]]
    built_in: bool
    overrides: Overrides = Overrides()
    """What its `@on` says of its policy."""


class Registry:
    """Handlers by event type, in the order in which the modules define them."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self.handlers: tuple[Handler, ...] = tuple(handlers)
        self._by_type: dict[str, tuple[Handler, ...]] = {}
        names: set[str] = set()
        for handler in self.handlers:
            if handler.name in names:
                raise Misconfigured([f"two handlers are called {handler.name}: give one of them a name=…"])
            names.add(handler.name)
            for wire in handler.types:
                self._by_type[wire] = (*self._by_type.get(wire, ()), handler)

    def for_type(self, wire: str) -> tuple[Handler, ...]:
        """Return the handlers of an event type, none for a type that nobody asked for."""
        return self._by_type.get(wire, ())

    def by_name(self, name: str) -> Handler | None:
        """Return the handler called `name`, as parked rows know it."""
        return next((handler for handler in self.handlers if handler.name == name), None)


def marked(module: ModuleType, *, built_in: bool) -> list[Handler]:
    """Return the handlers that `module` itself defines, in definition order.

    Raises Misconfigured for a marked function that is not an async function of (event, ctx).
    """
    return [
        handler_of(function, built_in=built_in)
        for function in vars(module).values()
        if callable(function) and hasattr(function, MARK) and getattr(function, "__module__", None) == module.__name__
    ]


def handler_of(function: Callable[..., Any], *, built_in: bool) -> Handler:
    """Return the handler that a marked function is.

    Raises Misconfigured where it is no async function of (event, ctx), or its marks contradict each other.
    """
    marks: tuple[Mark, ...] = getattr(function, MARK, ())
    where = f"{function.__module__}.{function.__qualname__}"
    if not marks:
        raise Misconfigured([f"{where} is not marked with @on"])
    if not inspect.iscoroutinefunction(function):
        raise Misconfigured([f"{where} is marked with @on but is no async function: write async def"])
    try:
        inspect.signature(function).bind("event", "ctx")
    except TypeError:
        raise Misconfigured([f"{where} is marked with @on but can't be called with (event, ctx)"]) from None
    wires = tuple(dict.fromkeys(_wire(name) for mark in marks for name in mark.types))
    name = next((mark.name for mark in marks if mark.name), where)
    stated = {mark.overrides for mark in marks} - {Overrides()}
    if len(stated) > 1:
        raise Misconfigured([f"{where} is one handler with two policies: name all its events in one @on"])
    overrides = next(iter(stated), Overrides())
    lists = [wire for wire in wires if (known := lookup(wire)) and known.list_body]
    if overrides.coalesce and lists:
        raise Misconfigured([f"{where} can't coalesce {lists[0]}: it may come as a list of several entities"])
    return Handler(name, wires, function, built_in, overrides)


def load_registry(modules: Iterable[str], built_in: Iterable[ModuleType]) -> Registry:
    """Import the users' modules and build the registry of theirs and the built-in handlers.

    The working folder joins the *end* of the import path, so that nothing in it can stand in for ours.
    Raises Misconfigured with one sentence a fault: a module that can't be imported or has no handler.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    faults = foreign_packages(Path(folder))
    handlers = [handler for module in built_in for handler in marked(module, built_in=True)]
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 -- a stranger's module is run here: whatever it raises is the fault
            faults.append(f"handlers: {name} can't be imported ({type(error).__name__}: {error})")
            continue
        try:
            theirs = marked(module, built_in=False)
        except Misconfigured as error:
            faults.extend(error.faults)
            continue
        if not theirs:
            faults.append(f"handlers: {name} has no function marked with @on")
        handlers.extend(theirs)
    if faults:
        raise Misconfigured(faults)
    return Registry(handlers)


def foreign_packages(folder: Path) -> list[str]:
    """Return a sentence for each top-level package of ours that is not ours, or that `folder` has one too of."""
    ours = Path(__file__).resolve().parent.parent
    faults = []
    for name in ("schemas", "ingest", "processors", "levelgate"):
        module = sys.modules.get(name) or importlib.import_module(name)
        origin = Path(module.__file__ or "").resolve()
        if origin.parent.parent != ours:
            faults.append(f"the package {name} is imported from {origin.parent}, which is not Levelgate's")
        faults.extend(
            f"{candidate} has the name of a Levelgate package: rename it"
            for candidate in (folder / name / "__init__.py", folder / f"{name}.py")
            if candidate.is_file() and candidate.resolve() != origin
        )
    return faults


def _wire(name: str) -> str:
    known = lookup(name)
    return known.wire if known else name
