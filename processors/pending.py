"""When a delivery is finished: counts down its parts, as the ledger tells what became of each."""

from collections.abc import Callable


class Pending:
    """Calls `finished` once, when the last of so many parts is recorded: True where each was still ours."""

    def __init__(self, parts: int, finished: Callable[[bool], None]) -> None:
        self._parts = parts
        self._finished = finished
        self._ours = True

    def recorded(self, ours: bool) -> None:  # noqa: FBT001 -- the ledger's callback
        """Note that one part is recorded, or was fenced off."""
        self._ours = self._ours and ours
        self._parts -= 1
        if self._parts == 0:
            self._finished(self._ours)
