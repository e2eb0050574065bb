"""A TCP proxy that breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time


class Proxy:
    """Passes bytes on, up to the ``limit``-th time that some come, in either direction: then it resets everything.

    Args:
        target: Endpoint to connect to.
        limit: When to break; a proxy that has broken refuses to connect.
    """

    def __init__(self, target: str, limit: int) -> None:
        host, _, port = target.removeprefix("grpc://").rpartition(":")
        self._target = (host, int(port))
        self._left = limit
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = ""
        self.broken_at: float | None = None
        """When it broke, in seconds of ``time.monotonic``; None if it has not."""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.endpoint = f"grpc://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._break()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers.add(back)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self.broken_at is not None:
            self._break()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                self._left -= 1
                if self._left <= 0:
                    self.reset()
                    return
                sink.write(data)
                await sink.drain()
        sink.close()

    def reset(self) -> None:
        """Break all connections now."""
        self.broken_at = self.broken_at or time.monotonic()
        self._break()

    def _break(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                # Without lingering, closing resets the connection instead of finishing it.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
