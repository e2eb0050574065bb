"""Stopping a gRPC server, wherever its program ends."""

from __future__ import annotations

import asyncio

import grpc.aio

from cogment_core.logs import logger

__all__ = ["RunningServer"]

BEGINNING = 0.1
"""Seconds that gRPC has to begin to stop a server."""


class RunningServer:
    """A gRPC server that was started, and can be stopped at any time.

    ``asyncio.run`` ends by cancelling all tasks that are left. gRPC's own are among them, and what they lent to its
    core is freed: a server that is stopped after that writes to this memory, and the process crashes (measured with
    grpcio 1.85). So such a server is left alone; its port is free when the process has ended.

    Made by `start`.

    Args:
        server: The server.
        witness: A task that nobody knows of, so that only the end of ``asyncio.run`` can cancel it.
    """

    def __init__(self, server: grpc.aio.Server, witness: asyncio.Task[object]) -> None:
        self._server = server
        self._witness = witness
        self._stopping: asyncio.Task[None] | None = None
        self._abandoned = False

    @classmethod
    async def start(cls, server: grpc.aio.Server) -> RunningServer:
        """Start ``server``."""
        await server.start()
        forever = asyncio.Event().wait()
        return cls(server, asyncio.get_running_loop().create_task(forever, name="witness of a gRPC server"))

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, and end those in progress. Called again, it waits for the same end, but for no longer.

        Args:
            grace: Seconds that calls have to end by themselves; None for none.
        """
        await asyncio.sleep(0)  # now the witness knows what those know who were cancelled together with it
        if self._stopping is not None:
            await self._hurry(self._stopping, grace or 0.0)
        elif self._witness.cancelled():
            self._abandon()
        else:
            # A task of its own: who is cancelled meanwhile leaves no server behind that was stopped by half.
            self._stopping = asyncio.get_running_loop().create_task(self._stop(grace), name="end of a gRPC server")
            await asyncio.shield(self._stopping)

    async def _stop(self, grace: float | None) -> None:
        try:
            await self._server.stop(grace)
        except asyncio.CancelledError:  # nobody knows of this task, either
            self._abandon()
            raise
        self._witness.cancel()

    async def _hurry(self, stopping: asyncio.Task[None], grace: float) -> None:
        """Wait for the end of the server; after ``grace``, the calls that are left are ended, too.

        While gRPC begins to stop a server, nobody else may: who waited for that would use memory that has been freed
        when there were no calls to wait for (seen with grpcio 1.85). It begins within `BEGINNING`, or has ended.
        """
        await asyncio.wait({stopping}, timeout=max(grace, BEGINNING))
        if not stopping.done():
            await self._server.stop(None)
        if not stopping.cancelled():
            await asyncio.shield(stopping)

    def _abandon(self) -> None:
        if self._abandoned:
            return
        self._abandoned = True
        import ctypes

        logger.info("the event loop ended before its gRPC server was stopped: the port is free at the process's end")
        # One reference too many, for ever: gRPC stops a server that is deleted.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
