"""What the transfers of models are compared with: streams of bytes of plain grpc.aio.

The ``raw`` ones move bytes, and do nothing else. The ``careful`` ones do what every safe transfer has to, in as few
steps as possible: the sender reads a file and hashes it, the receiver hashes, and of an upload writes a file and syncs
it to the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cogment_model_registry import CHUNK_SIZE

__all__ = ["careful_download", "careful_upload", "raw_download", "raw_upload", "serve_streams"]

SERVICE = "benchmark.Streams"


# --- the server -----------------------------------------------------------------------------------------------------


async def serve_streams(tell: Callable[[int], None], results: list[Any], size: int, folder: str) -> None:
    """Take and give bytes, on a free port; files are in ``folder``."""
    chunk = bytes(CHUNK_SIZE)

    async def upload(requests: Any, context: Any) -> bytes:
        received = 0
        while (message := await context.read()) is not grpc.aio.EOF:
            received += len(message)
        return str(received).encode()

    async def download(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(size // CHUNK_SIZE):
            yield chunk

    handlers: dict[str, Any] = {
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Download": grpc.unary_stream_rpc_method_handler(download),
        "CarefulUpload": grpc.stream_unary_rpc_method_handler(_careful_upload_to(Path(folder, "uploaded"))),
        "CarefulDownload": grpc.unary_stream_rpc_method_handler(_careful_download_of(Path(folder, "model"))),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tell(port)
    await server.wait_for_termination()


def _careful_upload_to(path: Path) -> Callable[[Any, Any], Any]:
    async def upload(requests: Any, context: Any) -> bytes:
        digest = hashlib.sha256()
        with path.open("wb", buffering=0) as file:

            def take(message: bytes) -> None:
                file.write(message)
                digest.update(message)

            await _in_thread(take, _messages(context))
            if dict(context.invocation_metadata())["sync"] == "yes":
                await asyncio.to_thread(os.fsync, file.fileno())
        path.unlink()  # noqa: ASYNC240
        return digest.digest()

    return upload


def _careful_download_of(path: Path) -> Callable[[Any, Any], Any]:
    async def download(request: bytes, context: Any) -> AsyncIterator[bytes]:
        async for chunk in _read_ahead(path, hashlib.sha256()):
            yield chunk

    return download


async def _messages(context: Any) -> AsyncIterator[bytes]:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield message


# --- the client -----------------------------------------------------------------------------------------------------


async def raw_upload(channel: Any, size: int) -> None:
    """Send ``size`` bytes in chunks."""
    chunk = bytes(CHUNK_SIZE)
    call: Any = channel.stream_unary(f"/{SERVICE}/Upload")()
    for _ in range(size // CHUNK_SIZE):
        await call.write(chunk)
    await call.done_writing()
    assert int(await call) == size


async def raw_download(channel: Any, size: int) -> None:
    """Receive ``size`` bytes in chunks."""
    download: Any = channel.unary_stream(f"/{SERVICE}/Download")
    received = 0
    async for chunk in download(b""):
        received += len(chunk)
    assert received == size


async def careful_upload(channel: Any, path: Path, *, sync: bool) -> None:
    """Send a file, hashed on both sides, and have it written, and synced if that is asked for."""
    digest = hashlib.sha256()
    upload: Any = channel.stream_unary(f"/{SERVICE}/CarefulUpload")
    call = upload(metadata=(("sync", "yes" if sync else "no"),))
    async for chunk in _read_ahead(path, digest):
        await call.write(chunk)
    await call.done_writing()
    assert await call == digest.digest()


async def careful_download(channel: Any, size: int) -> None:
    """Receive a file, hashed on both sides, and write it nowhere."""
    digest = hashlib.sha256()
    download: Any = channel.unary_stream(f"/{SERVICE}/CarefulDownload")
    with Path("/dev/null").open("wb", buffering=0) as nowhere:  # noqa: ASYNC230

        def take(message: bytes) -> None:
            nowhere.write(message)
            digest.update(message)

        await _in_thread(take, download(b""))


# --- both -----------------------------------------------------------------------------------------------------------


async def _read_ahead(path: Path, digest: Any) -> AsyncIterator[bytes]:
    """The chunks of a file; while one is used, the next is read and hashed in a thread."""
    with path.open("rb", buffering=0) as file:

        def take() -> bytes:
            chunk = file.read(CHUNK_SIZE)
            digest.update(chunk)
            return chunk

        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, take)
        while chunk := await reading:
            reading = loop.run_in_executor(None, take)
            yield chunk


async def _in_thread(take: Callable[[bytes], None], messages: AsyncIterator[bytes]) -> None:
    """Let a thread take each message, while the next one comes."""
    loop = asyncio.get_running_loop()
    taking: asyncio.Future[None] | None = None
    async for message in messages:
        if taking is not None:
            await taking
        taking = loop.run_in_executor(None, take, message)
    if taking is not None:
        await taking
