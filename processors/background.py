"""One task beside the others that is begun anew again and again."""

import asyncio
from collections.abc import Callable, Coroutine


class Background:
    """At most one task at a time; `failed` is told what ends one, other than `end`."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it was begun and not ended since."""
        return self._task is not None

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Do `work`, instead of what was begun before."""
        self.end()
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._ended)

    def end(self) -> None:
        """Do nothing more; returns at once, the task ends when it is its turn."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
