"""`levelgate handlers`."""

from typing import Any

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table


@click.command(
    epilog=example(
        """
levelgate handlers
LEVELGATE_HANDLERS=my_app.handlers levelgate handlers --json
"""
    )
)
@json_option
def command(*, as_json: bool) -> None:
    """List the handlers that a worker would run, with their event types and policies.

    Imports the modules that LEVELGATE_HANDLERS names, as the worker does. `levelgate` under module: built in.
    attempts: failed runs until a dead letter · backoff: the first wait and the longest · deadline: how long after it
    was received a delivery is tried · timeout: of one run · relaxed: later events of an entity pass one that failed ·
    coalesce: events of an entity that wait together are one run.
    """
    from processors.handlers import built_in
    from processors.registry import load_registry
    from processors.retries import default_policy, policy_of
    from schemas.settings import load_settings

    settings = load_settings()
    registry = load_registry(settings.handlers, built_in(settings))
    defaults = default_policy(settings.worker)
    handlers: list[dict[str, Any]] = []
    for each in registry.handlers:
        policy = policy_of(each.overrides, defaults)
        handlers.append(
            {
                "handler": each.name,
                "types": each.types,
                "module": each.function.__module__,
                "built_in": each.built_in,
                "attempts": policy.max_attempts,
                "backoff_s": policy.backoff_s,
                "max_backoff_s": policy.max_backoff_s,
                "deadline_s": policy.deadline_s,
                "timeout_s": policy.timeout_s,
                "ordering": policy.ordering,
                "coalesce": policy.coalesce,
            }
        )
    if as_json:
        print_json(handlers)
        return
    print_table(
        ("handler", "module", "attempts", "backoff", "deadline", "timeout", "ordering", "coalesce", "types"),
        [
            (
                h["handler"],
                "levelgate" if h["built_in"] else h["module"],
                h["attempts"],
                f"{_span(h['backoff_s'])} to {_span(h['max_backoff_s'])}",
                _span(h["deadline_s"]),
                _span(h["timeout_s"]),
                h["ordering"],
                "yes" if h["coalesce"] else "no",
                h["types"],  # last: some have many, and would push the rest out of sight
            )
            for h in handlers
        ],
        empty="no handlers: LEVELGATE_SYNC is off and LEVELGATE_HANDLERS names none",
    )


def _span(seconds: float | None) -> str:
    """Return a duration in its largest whole unit: 90 s, 2 min, 1 h."""
    if seconds is None:
        return "none"
    unit, size = next(
        ((unit, size) for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)) if seconds % size == 0), ("s", 1)
    )
    return f"{seconds / size:g} {unit}"
