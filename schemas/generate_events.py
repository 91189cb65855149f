"""Write the typed events from their schemas, for the generator: one module a family. Pure."""

import json
from collections.abc import Iterator
from typing import Any

from schemas.generate_names import BANNER, attribute_name, class_name, module_name, part_name

Schema = dict[str, Any]

_SCALARS = {"string": "str", "boolean": "bool", "number": "int | float", "integer": "int | float"}
# Every event has them; `schemas.events.base` declares them once.
_IN_BASE = {"type", "timestamp", "webhookId"}


def event_modules(events: list[dict[str, Any]]) -> dict[str, str]:
    """Return the modules of the package `events` that are generated: path and text, not yet formatted."""
    families: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(events, key=lambda event: event["type"]):
        families.setdefault(event["family"], []).append(event)
    modules = {
        f"events/{module_name(family)}.py": _Module(family, members).text() for family, members in families.items()
    }
    imports = "".join(
        f"from schemas.events.{module_name(family)} import {', '.join(class_name(m['type']) for m in members)}\n"
        for family, members in sorted(families.items())
    )
    classes = sorted(class_name(event["type"]) for event in events)
    modules["events/registry.py"] = _registry(imports, classes)
    modules["events/__init__.py"] = _package(imports, classes)
    return modules


def _registry(imports: str, classes: list[str]) -> str:
    rows = "".join(f"    {name}.wire: {name},\n" for name in classes)
    return (
        f'"""Every typed event by its wire name. {BANNER}"""\n\n'
        "from collections.abc import Mapping\n\n"
        f"from schemas.events.base import Event\n{imports}\n"
        f"EVENTS: Mapping[str, type[Event]] = {{\n{rows}}}\n"
    )


def _package(imports: str, classes: list[str]) -> str:
    exported = sorted([*classes, "EVENTS", "Event", "Part", "UnknownEvent", "decode", "decode_unknown"])
    return (
        f'"""Typed events, a module a family. {BANNER}"""\n\n'
        "from schemas.events.base import Event, Part, UnknownEvent\n"
        "from schemas.events.decoding import decode, decode_unknown\n"
        f"{imports}from schemas.events.registry import EVENTS\n\n"
        f"__all__ = [{', '.join(repr(name) for name in exported)}]\n"
    )


class _Module:
    """The module of one family; equal nested objects of its events share a class."""

    def __init__(self, family: str, events: list[dict[str, Any]]) -> None:
        self._family = family
        self._events = events
        self._taken = {class_name(event["type"]) for event in events}
        self._names: dict[str, str] = {}
        self._parts: list[str] = []

    def text(self) -> str:
        bodies = [self._event(event) for event in self._events]
        code = "\n\n".join([*self._parts, *bodies])
        imports = "from typing import Any, ClassVar\n\n" if "Any" in code else "from typing import ClassVar\n\n"
        if "= field(" in code:
            imports += "from msgspec import field\n\n"
        base = "Event, Part" if self._parts else "Event"
        return (
            f'"""Typed events of the family {self._family}. {BANNER}"""\n\n'
            f"{imports}from schemas.events.base import {base}\n\n\n{code}"
        )

    def _event(self, event: dict[str, Any]) -> str:
        name = class_name(event["type"])
        fields = {k: v for k, v in event["schema"]["properties"].items() if k not in _IN_BASE}
        lines = "".join(self._fields(fields, owner=name))
        title = event["title"].removesuffix(".")
        return (
            f"class {name}(Event, frozen=True, kw_only=True):\n"
            f'    """{title}: `{event["type"]}`."""\n\n    wire: ClassVar[str] = {event["type"]!r}\n\n{lines}\n'
        )

    def _fields(self, properties: dict[str, Schema], *, owner: str) -> Iterator[str]:
        used: set[str] = {"raw", "wire"}
        for field, schema in properties.items():
            attribute = attribute_name(field)
            if attribute in used:
                raise ValueError(f"{owner}: two fields would be called {attribute}")
            used.add(attribute)
            annotation, default = self._annotation(field, schema, owner)
            value = default if attribute == field else f"field(default={default}, name={field!r})"
            yield f"    {attribute}: {annotation} = {value}\n"

    def _annotation(self, field: str, schema: Schema, owner: str) -> tuple[str, str]:
        kinds = schema.get("type", [])
        if kinds == "string":
            return "str", '""'
        kinds = [kinds] if isinstance(kinds, str) else kinds
        options = [self._option(kind, field, schema, owner) for kind in kinds if kind != "null"]
        return (" | ".join([*options, "None"]) if options else "Any"), "None"

    def _option(self, kind: str, field: str, schema: Schema, owner: str) -> str:
        if kind == "array":
            item = schema.get("items")
            if item is None:
                return "list[Any]"
            annotation, _ = self._annotation(field, item | {"is_item": True}, owner)
            return f"list[{annotation}]"
        if kind == "object":
            return self._part(field, schema, owner) if schema.get("properties") else "dict[str, Any]"
        return _SCALARS[kind]

    def _part(self, field: str, schema: Schema, owner: str) -> str:
        plain = part_name(field, is_list="is_item" in schema)
        shape = f"{plain} {json.dumps(schema['properties'], sort_keys=True)}"
        if shape not in self._names:
            name = plain if plain not in self._taken else owner + plain
            if name in self._taken:
                raise ValueError(f"{owner}: two nested objects would be called {name}")
            self._taken.add(name)
            self._names[shape] = name
            lines = "".join(self._fields(schema["properties"], owner=name))
            self._parts.append(
                f'class {name}(Part, frozen=True, kw_only=True):\n    """`{field}` of a body."""\n\n{lines}\n'
            )
        return self._names[shape]
