"""A cable between a client and a real server, which a test may cut, let hang and mend: TCP forwarded as it is."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


class Cable:
    """Forwards a port of its own to `host:port`; while cut it closes every connection, old and new.

    While it hangs nothing passes, and nobody is told.
    """

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._connected = False
        self._passes = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str):
        """Yield (cable, the same URL through it)."""
        parts = urlsplit(url)
        cable = cls(parts.hostname or "127.0.0.1", parts.port or 5432)
        server = await asyncio.start_server(cable._connect, "127.0.0.1", 0)
        cable.port = server.sockets[0].getsockname()[1]
        cable.mend()
        user = parts.netloc.rpartition("@")[0]
        try:
            yield cable, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{cable.port}"))
        finally:
            cable.cut()
            server.close()
            await asyncio.gather(*cable._pumps, return_exceptions=True)

    def mend(self) -> None:
        self._connected = True
        self._passes.set()

    def hang(self) -> None:
        self._passes.clear()

    def cut(self) -> None:
        self._connected = False
        self._passes.set()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._connected:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._writers |= {writer, far_writer}
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
