"""The documented bodies of every event type, as the vendor's pages have them: for the simulator and for tests.

Reads this package's own data only. The senders set `appId`, `webhookId` and `timestamp` afresh.
"""

from importlib.resources import files
from typing import Any

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One documented body."""

    type: str
    """The wire name of its event type."""
    index: int
    """Its place among the samples of its type, from 1."""
    body: dict[str, Any] | list[dict[str, Any]]
    in_path: bool
    """Whether the event must be named in the path, the documented body having no name for it, or a wrong one."""
    provider: bool = False
    """Whether it goes to the conversation provider's delivery URL."""

    @property
    def name(self) -> str:
        """A name to say which sample is meant: `ContactCreate-1`."""
        return f"{self.type}-{self.index}"


def samples() -> tuple[Sample, ...]:
    """Return all documented bodies, in the order of the documents; the bodies are the caller's own copies."""
    return msgspec.json.decode(files("schemas").joinpath("data/samples.json").read_bytes(), type=tuple[Sample, ...])
