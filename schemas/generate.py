"""Write what is derived from the vendor's event documents: `python -m schemas.generate [--check]`.

Source: `data/events.json`. Written: `event_table.py`, `data/samples.json`, `jsonschema/*.json` and, in
`events/`, a module a family, `registry.py` and `__init__.py`. `--check` writes nothing and fails where
one of them is not current. A developers' tool: it needs ruff, and the product never imports it.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from schemas.generate_events import event_modules
from schemas.generate_names import BANNER

PACKAGE = Path(__file__).parent
SOURCE = PACKAGE / "data" / "events.json"
PROVIDER_MESSAGE = "ProviderOutboundMessage"
GENERATED_FOLDERS = ("events", "jsonschema")
HAND_WRITTEN = {"base.py", "decoding.py"}

Entry = dict[str, Any]


def entries() -> list[Entry]:
    """Return the documented events, the provider message under our own name for it."""
    events: list[Entry] = json.loads(SOURCE.read_text())["events"]
    return [event | {"type": event["type"] or PROVIDER_MESSAGE} for event in events]


def generate() -> dict[str, str]:
    """Return every generated file: its path below the package, and its text."""
    events = entries()
    texts = {"event_table.py": event_table(events)} | event_modules(events)
    texts = {name: _formatted(text) for name, text in texts.items()}
    texts["data/samples.json"] = _json([sample for event in events for sample in documented_samples(event)])
    for event in events:
        texts[f"jsonschema/{event['type']}.json"] = _json(json_schema(event))
    return texts


def event_table(events: list[Entry]) -> str:
    """Return the module that holds the catalogue's table."""
    rows = "".join(f"    EventType({_arguments(event)}),\n" for event in events)
    return (
        f'"""The table behind the event catalogue. {BANNER}"""\n\n'
        "from schemas.event_type import EventType\n\n"
        f"EVENT_TYPES: tuple[EventType, ...] = (\n{rows})\n"
    )


def _arguments(event: Entry) -> str:
    entity_paths = (event["entity_id_field"], *event["entity_id_fallbacks"])
    values: dict[str, Any] = {
        "wire": event["type"],
        "family": event["family"],
        "title": event["title"],
        "type_certainty": event["type_certainty"],
        "aliases": tuple(event["aliases"]),
        "location_fields": tuple(event["tenant"]["location"]),
        "company_fields": tuple(event["tenant"]["company"]),
        "entity_fields": tuple(tuple(path.split(".")) for path in entity_paths if path),
        "scopes": tuple(event["scopes"]),
        "list_body": event.get("list_body", False),
        "confidential": any("treat as secret" in note for note in event["notes"]),
        "provider": event["type"] == PROVIDER_MESSAGE,
    }
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value not in ((), False))


def documented_samples(event: Entry) -> list[dict[str, Any]]:
    """Return the event's samples as the vendor's page has them.

    `events.json` adds or corrects `type` and says so in its notes; here that is taken back, so that what
    the simulator sends is what the vendor would, the event being named in the path.
    """
    named = event["type_certainty"] in {"sample", "page example"}
    provider = event["type"] == PROVIDER_MESSAGE
    return [
        {"type": event["type"], "index": index, "body": body, "in_path": in_path and not provider, "provider": provider}
        for index, sample in enumerate(event["samples"], start=1)
        for body in [_as_documented(event["notes"], index, sample)]
        for in_path in [not named or body != sample]
    ]


def _as_documented(notes: list[str], index: int, sample: Any) -> Any:  # noqa: ANN401 -- an object or a list of them
    for note in notes:
        if note.startswith(f"sample {index} has no `type`") or "documented example has no `type`" in note:
            return {name: value for name, value in sample.items() if name != "type"}
        if wrong := re.match(rf"sample {index} says type '(\w+)'.* corrected here", note):
            return sample | {"type": wrong[1]}
        if "examples still say type UserCreate" in note:
            return sample | {"type": "UserCreate"}
        if "documented body has type 'one_time'" in note:
            return {name: value for name, value in sample.items() if name != "priceType"} | {
                "type": sample["priceType"]
            }
    return sample


def json_schema(event: Entry) -> dict[str, Any]:
    """Return the JSON Schema of the event's body (of one element, where the body may be a list)."""
    head = {
        "$schema": event["schema"]["$schema"],
        "$id": f"urn:levelgate:event:{event['type']}",
        "title": event["type"],
        "description": f"{event['title']} ({event['family']}); type: {event['type_certainty']}. {BANNER}",
    }
    return head | _loosened(event["schema"])


def _loosened(schema: dict[str, Any]) -> dict[str, Any]:
    # Only null was ever documented: the field's real type is not known. And the vendor adds values to its enums.
    loose = {} if schema.get("type") == "null" else {k: v for k, v in schema.items() if k not in {"enum", "$schema"}}
    if "enum" in schema:
        loose["examples"] = [value for value in schema["enum"] if value is not None]
    if "properties" in schema:
        loose["properties"] = {name: _loosened(part) for name, part in schema["properties"].items()}
    if "items" in schema:
        loose["items"] = _loosened(schema["items"])
    return loose


def stale_files(texts: dict[str, str]) -> list[str]:
    """Return the generated files that are missing, differ, or should no longer be there."""
    different = [name for name, text in texts.items() if not _has(PACKAGE / name, text)]
    return sorted(different + [path.relative_to(PACKAGE).as_posix() for path in _left_over(texts)])


def _has(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _left_over(texts: dict[str, str]) -> list[Path]:
    present = [path for folder in GENERATED_FOLDERS for path in (PACKAGE / folder).glob("*.*")]
    return [p for p in present if p.name not in HAND_WRITTEN and p.relative_to(PACKAGE).as_posix() not in texts]


def _formatted(text: str) -> str:
    """Return a Python text as the rest of the project is written."""
    return _ruff(_ruff(text, "check", "--fix", "--quiet", "--select", "I,RUF022"), "format")


def _ruff(text: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(PACKAGE / "generated.py"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 -- ours


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write what is derived from data/events.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    check = parser.parse_args().check
    texts = generate()
    stale = stale_files(texts)
    for name in stale:
        sys.stdout.write(f"{'not current' if check else 'written'}: schemas/{name}\n")
    if check:
        return 1 if stale else 0
    for path in _left_over(texts):
        path.unlink()
    for name in set(stale) & set(texts):
        (PACKAGE / name).parent.mkdir(exist_ok=True)
        (PACKAGE / name).write_text(texts[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
