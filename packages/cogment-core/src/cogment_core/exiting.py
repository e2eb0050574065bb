"""What gRPC needs where a process ends."""

from __future__ import annotations

import asyncio
import atexit
import functools

import grpc
import grpc.aio

from cogment_core.logs import logger

__all__ = ["exit_cleanly"]

CURED = (1, 66)
"""The first version of grpcio that does not need this."""


@functools.cache
def exit_cleanly() -> None:
    """Let this process end, whatever of ``grpc.aio`` it leaves open: to be called before anything of it is made.

    When the last channel or server is freed, gRPC waits for a thread of its own. While Python ends, it frees them but
    lets no other thread go on, so that gRPC waits for ever for one that had not begun its work: seen in one of four
    processes that end right after they made a server, with grpcio 1.62 to 1.65. So gRPC is kept in use until the end.
    """
    if _version() < CURED:
        # Not from the beginning: as long as it is in use, gRPC keeps every event loop that it was used in.
        atexit.register(_use)


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in grpc.__version__.split(".")[:2])


def _use() -> None:
    # gRPC wants a running loop. It is none that runs in truth: that one would get what was meant for those before it.
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    try:
        grpc.aio.init_grpc_aio()
    except RuntimeError:
        # From Python 3.12 on, gRPC cannot start its thread any more. It tried to, so nothing was open: all is well.
        logger.debug("gRPC is not in use", exc_info=True)
    finally:
        asyncio._set_running_loop(None)
        loop.close()
