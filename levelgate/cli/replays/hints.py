"""What may be wrong with the names by which events are chosen, though nothing forbids them. Pure."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from processors.registry import Handler
from processors.replays.selection import Selection
from schemas.catalogue import CATALOGUE, lookup


def hints(selection: Selection, handlers: Iterable[Handler]) -> Iterator[str]:
    """Yield a sentence for each type that the catalogue does not know, and each dead letters' handler not among these.

    Events of an unknown type may have come, and a dead letter's handler may be gone.
    """
    for name in selection.types:
        if lookup(name) is None:
            yield f"{name} is no event type that is known{_like(name, CATALOGUE)}: it is looked for as it is written"
    if selection.source == "dead":
        names = {each.name for each in handlers}
        for name in selection.handlers:
            if name not in names:
                yield f"no handler here is called {name}{_like(name, names)}: `levelgate handlers` lists them"


def _like(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, list(known), cutoff=0.8)
    return f" (did you mean {' or '.join(found)}?)" if found else ""
