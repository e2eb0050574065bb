"""Stopping a gRPC server, wherever its program ends."""

from __future__ import annotations

import asyncio

import grpc.aio

from cogment_core.logs import logger

__all__ = ["RunningServer"]


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
        self._stopped = False

    @classmethod
    async def start(cls, server: grpc.aio.Server) -> RunningServer:
        """Start ``server``."""
        await server.start()
        forever = asyncio.Event().wait()
        return cls(server, asyncio.get_running_loop().create_task(forever, name="witness of a gRPC server"))

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, and end those in progress. Does nothing once the server is stopped.

        Args:
            grace: Seconds that calls have to end by themselves; None for none.
        """
        if self._stopped:
            return
        await asyncio.sleep(0)  # now the witness knows what those know who were cancelled together with it
        if self._witness.cancelled():
            self._abandon()
        else:
            await self._server.stop(grace)
            self._witness.cancel()
        self._stopped = True

    def _abandon(self) -> None:
        import ctypes

        logger.info("the event loop ended before its gRPC server was stopped: the port is free at the process's end")
        # One reference too many, for ever: gRPC stops a server that is deleted.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
