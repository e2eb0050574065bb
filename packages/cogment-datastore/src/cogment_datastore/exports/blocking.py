"""Plain functions, for notebooks and scripts without an event loop of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from cogment_core.context import Context
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_core.inprocess import InProcessEndpoint
from cogment_datastore.datastore import Datastore, connect
from cogment_datastore.exports.extras import load
from cogment_datastore.exports.selection import Selection
from cogment_datastore.exports.tables import batches, frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cogment_core.specs import CogSettings

__all__ = ["load_arrays", "load_frame", "run"]

ResultT = TypeVar("ResultT")

_ALL = 2**63 - 1


def run(
    endpoint: Endpoint | str,
    use: Callable[[Datastore], Awaitable[ResultT]],
    cog_settings: CogSettings | None = None,
) -> ResultT:
    """Connect to a Trial Datastore, do something with it, and wait until that is done.

    It also works where an event loop runs, as in a notebook: it happens in a thread with another one. That loop waits
    meanwhile, so the datastore must not be served by it.

    Args:
        endpoint: Where the Trial Datastore is, also as a URL.
        use: A coroutine function, which is given the Datastore.
        cog_settings: The specs; None if they are not known.

    Returns:
        What ``use`` returns. What it raises is raised.

    Raises:
        UsageError: The datastore is in process, where only its own event loop can use it; or it is a file.
    """
    if isinstance(endpoint, str) and os.path.isfile(endpoint):
        raise UsageError(
            f"{endpoint} is a file: let a Trial Datastore serve it, cogment services trial_datastore --port=9003 "
            f"--file_storage={endpoint}, and say where, grpc://localhost:9003"
        )
    place = Endpoint(endpoint) if isinstance(endpoint, str) else endpoint
    if isinstance(place, InProcessEndpoint):
        raise UsageError("a datastore in process belongs to its event loop: await what uses it there")

    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def main() -> ResultT:
        started.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        async with Context("datastore export", cog_settings, prometheus_registry=None) as context:
            return await use(connect(context, place))

    with ThreadPoolExecutor(1, "datastore export") as executor:
        done = executor.submit(asyncio.run, main())
        try:
            return done.result()
        except BaseException:  # Ctrl-C, or what another handler of signals raises: only the main thread gets these
            if not done.done():
                loop, task = started.result()
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            raise


def load_frame(
    endpoint: Endpoint | str, cog_settings: CogSettings | None = None, selection: Selection | None = None
) -> Any:
    """Load everything that is selected into one ``pandas.DataFrame``; see `frames` for its columns.

    Args:
        endpoint: Where the Trial Datastore is, also as a URL.
        cog_settings: The specs; None if they are not known.
        selection: What to load; everything if None.

    Raises:
        MissingExtraError: pandas is not installed.
        CogmentError: What `frames` and `run` raise.
    """
    pandas = load("pandas", "pandas")

    async def collect(datastore: Datastore) -> list[Any]:
        return [frame async for frame in frames(datastore, selection)]

    found = run(endpoint, collect, cog_settings)
    return pandas.concat(found, ignore_index=True) if found else pandas.DataFrame()


def load_arrays(
    endpoint: Endpoint | str, cog_settings: CogSettings | None = None, selection: Selection | None = None
) -> dict[str, NDArray[Any]]:
    """Load everything that is selected into NumPy arrays; see `batches` for their names.

    Args:
        endpoint: Where the Trial Datastore is, also as a URL.
        cog_settings: The specs; None if they are not known.
        selection: What to load; everything if None.

    Returns:
        The arrays by name of the column; nothing if nothing is selected.

    Raises:
        MissingExtraError: NumPy is not installed.
        CogmentError: What `batches` and `run` raise.
    """

    async def collect(datastore: Datastore) -> dict[str, NDArray[Any]]:
        everything: dict[str, NDArray[Any]] = {}
        async for batch in batches(datastore, selection, batch_rows=_ALL):
            everything = batch
        return everything

    return run(endpoint, collect, cog_settings)
