"""Faults on demand: the next calls under a path fail, are refused, come late, lose their answer, or get none."""

from typing import Literal

import msgspec

Effect = Literal["error", "limit", "slow", "lost", "silent"]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the calls that it fits."""

    effect: Effect
    """Answer `status` · answer 429 · answer after `delay_s` · do it, then cut the connection · never answer."""
    path: str = "/"
    """The beginning of the path, e.g. `/oauth/token` or `/contacts/`."""
    is_whole: bool = False
    """Whether `path` is no beginning but all of it: `/contacts/abc`, or an operation's `/contacts/{contactId}`."""
    method: str | None = None
    status: int = 500
    delay_s: float = 1.0
    times: int | None = 1
    """How many calls; none: all until the faults are cleared."""


class Faults:
    """The faults that wait for their calls, in the order in which they were given."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let `fault` happen to the next calls that it fits."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Let nothing more happen."""
        self._waiting.clear()

    def take(self, method: str, path: str, template: str | None = None) -> Fault | None:
        """Return what happens to this call, of the operation with the path `template`, and count it."""
        for index, fault in enumerate(self._waiting):
            fits = fault.path in {path, template} if fault.is_whole else path.startswith(fault.path)
            if not fits or fault.method not in {None, method}:
                continue
            if fault.times is not None:
                left = fault.times - 1
                self._waiting[index : index + 1] = [msgspec.structs.replace(fault, times=left)] if left > 0 else []
            return fault
        return None
