"""Sends the documented samples, one after the other in the order of the documents."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from levelgate.simulator.vendor import Vendor
from schemas.ids import AppName
from schemas.samples import Sample


async def send_samples(vendor: Vendor, app: AppName) -> AsyncIterator[dict[str, Any]]:
    """Send each sample as a new webhook and yield what became of it, then a line with `done`.

    The provider's message is skipped where the app is no conversation provider.
    """
    counts = dict.fromkeys(("sent", "accepted", "retried", "failed", "skipped"), 0)
    for sample in vendor.samples:
        line: dict[str, Any] = {"name": sample.name, "type": sample.type}
        if sample.provider and vendor.settings.apps[app].provider_secret is None:
            counts["skipped"] += 1
            yield {**line, "skipped": "the app is no conversation provider"}
            continue
        outcome = await vendor.sender.send(app, sample.body, event=_event(sample))
        counts["sent"] += 1
        counts["accepted" if outcome.accepted else "failed"] += 1
        counts["retried"] += outcome.tries - 1
        yield {**line, **msgspec.to_builtins(outcome), "accepted": outcome.accepted}
    yield {"done": True, **counts}


def _event(sample: Sample) -> str | None:
    return sample.type if sample.in_path or sample.provider else None
