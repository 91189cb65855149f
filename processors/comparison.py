"""How two lists of API calls, or of statements, differ: what two versions of handlers would do about one event. Pure.

Order counts, and so does every value of a body; the order of a body's fields does not.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

import msgspec
import orjson

from levelgate.highlevel.recording import Call
from processors.statements import Statement

Act = Call | Statement
"""What a handler does by its context."""


class Missing(msgspec.Struct, frozen=True):
    """Stands for a value that one side does not have; null is a value."""


MISSING: Final = Missing()


class Change(msgspec.Struct, frozen=True):
    """One value that differs between two acts."""

    path: str
    """Where it is: `body/tags/0`, `query/limit`, `tenant`, `args/0`; a slash within a name is `~1`, a tilde `~0`."""
    old: Any
    new: Any
    """MISSING where that side has none."""


class OnlyOld(msgspec.Struct, frozen=True):
    """An act that is not the new version's, or not at that place."""

    old: Act


class OnlyNew(msgspec.Struct, frozen=True):
    """An act that is not the old version's, or not at that place."""

    new: Act


class Changed(msgspec.Struct, frozen=True):
    """A call of the same method and path, or a statement of the same text, that carries something else."""

    old: Act
    new: Act
    changes: tuple[Change, ...]


Difference = OnlyOld | OnlyNew | Changed


def differences(old: Sequence[Act], new: Sequence[Act]) -> list[Difference]:
    """Return how the acts of `new` differ from those of `old`, in their order; nothing where they are the same."""
    matcher = SequenceMatcher(None, [act.key for act in old], [act.key for act in new], autojunk=False)
    found: list[Difference] = []
    for step, begin, end, new_begin, new_end in matcher.get_opcodes():
        if step != "equal":
            found.extend(_replaced(old[begin:end], new[new_begin:new_end]))
    return found


def changes(old: Act, new: Act) -> tuple[Change, ...]:
    """Return the values that differ between two calls or two statements, whatever they are called."""
    carried = _carried(new)
    return tuple(change for part, value in _carried(old).items() for change in _changes(part, value, carried[part]))


def _carried(act: Act) -> dict[str, Any]:
    match act:
        case Call():
            return {"tenant": act.tenant, "query": act.query, "body": act.json}
        case Statement():
            return {"literals": list(act.literals), "args": list(act.arguments)}


def _replaced(old: Sequence[Act], new: Sequence[Act]) -> Iterator[Difference]:
    """Pair up acts that are called the same, so far as their order lets them be; the rest is on one side alone."""
    matcher = SequenceMatcher(None, [act.named for act in old], [act.named for act in new], autojunk=False)
    for step, begin, end, new_begin, new_end in matcher.get_opcodes():
        if step == "equal":
            for before, after in zip(old[begin:end], new[new_begin:new_end], strict=True):
                yield Changed(before, after, changes(before, after))
        else:
            yield from map(OnlyOld, old[begin:end])
            yield from map(OnlyNew, new[new_begin:new_end])


def _changes(path: str, old: Any, new: Any) -> Iterator[Change]:  # noqa: ANN401 -- any JSON
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _changes(f"{path}/{_escaped(name)}", old.get(name, MISSING), new.get(name, MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _changes(f"{path}/{index}", _at(old, index), _at(new, index))
    elif (old is MISSING) != (new is MISSING) or _bytes(old) != _bytes(new):
        yield Change(path, old, new)


def _at(values: list[Any], index: int) -> Any:  # noqa: ANN401 -- any JSON
    return values[index] if index < len(values) else MISSING


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _bytes(value: Any) -> bytes:  # noqa: ANN401 -- any JSON
    """Return what tells two JSON values apart: unlike in Python, true is not 1."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
