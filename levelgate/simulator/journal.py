"""What survives a kill: an append-only file of JSON lines, read back and compacted at start.

Writes happen in one thread of its own, in order, many lines at once; `flush` returns when they are with the operating
system, which outlives SIGKILL. A power cut may lose the last lines: nothing here is synced to the disk.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

Record = list[Any]


class Journal:
    """The open journal at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator-journal")
        self._last: asyncio.Future[None] | None = None

    def append(self, record: Record) -> None:
        """Note `record`; it is durable after the next `flush`."""
        self._pending.append(orjson.dumps(record))

    async def flush(self) -> None:
        """Return when everything appended so far is written; a cancelled caller does not stop the writing."""
        if self._pending:
            lines, self._pending = self._pending, []
            self._last = asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines)
        if self._last is not None:
            await asyncio.shield(self._last)

    async def close(self) -> None:
        """Write what is left and let the thread end."""
        await self.flush()
        self._thread.shutdown(wait=False)

    def _write(self, lines: list[bytes]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))


def read(path: Path) -> list[Record]:
    """Return the records of the file, the oldest first; a last line that a kill cut short is dropped. Blocks."""
    if not path.exists():
        return []
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    return [orjson.loads(line) for line in whole.split(b"\n") if line]


def rewrite(path: Path, records: Iterable[Record]) -> None:
    """Replace the file by `records`, at once or not at all. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    fresh.replace(path)
