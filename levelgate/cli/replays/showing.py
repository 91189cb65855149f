"""How a replay looks in listings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from processors.replays.selection import Selection
    from processors.replays.table import Outcomes, ParkedTenant, Replay


def as_shown(
    replay: "Replay", outcomes: "Outcomes | None" = None, parked: "Sequence[ParkedTenant] | None" = None
) -> dict[str, Any]:
    """Return a replay as `--json` prints it; what is not given is left out."""
    shown = {
        "id": replay.id,
        "state": replay.shown,
        "published": replay.published,
        "total": replay.total,
        "skipped": replay.skipped,
        "lost": replay.lost,
        "rate": replay.rate,
        "selection": replay.selection,
        "started_at": replay.created_at,
        "updated_at": replay.updated_at,
        "ended_at": replay.ended_at,
        "last_error": replay.last_error,
        "waits_for": replay.waits_for if replay.has_publisher else None,
    }
    if outcomes is not None:
        shown["pairs"] = outcomes
    if parked is not None:
        shown["parked"] = [
            {"app": each.app, "tenant": each.tenant, "pairs": each.pairs, "reasons": each.reasons} for each in parked
        ]
    return shown


def in_words(selection: "Selection") -> str:
    """Return a selection as the options that make it."""
    parts = [] if selection.source == "topics" else ["--from dead"]
    for option, moment in (("--since", selection.since), ("--until", selection.until)):
        parts += [f"{option} {moment.astimezone():%Y-%m-%dT%H:%M:%S}"] if moment else []
    many = {
        "--offsets": selection.offsets,
        "--type": selection.types,
        "--tenant": selection.tenants,
        "--not-tenant": selection.not_tenants,
        "--entity": selection.entities,
        "--app": selection.apps,
        "--handler": selection.handlers,
        "--delivery": selection.deliveries,
    }
    parts += [f"{option} {value}" for option, values in many.items() for value in values]
    parts += [f"--limit {selection.limit}"] if selection.limit else []
    return " ".join(parts) or "--all"
