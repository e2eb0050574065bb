"""The end of a process that has used gRPC."""

from __future__ import annotations

import asyncio
import sys
import textwrap

PROCESSES = 15
"""Without our help, one of four that leave something open never ends, with grpcio 1.62."""

AT_ONCE = """
    import asyncio
    import sys

    from cogment_core.channels import create_server, open_channel
    from cogment_core.endpoints import Endpoint

    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    kept = []

    async def main():
        if sys.argv[1] == "server":
            kept.append(create_server())
            return
        kept.append(open_channel(Endpoint("grpc://127.0.0.1:9")))
        if sys.argv[1] == "closed":
            await kept.pop().close()

    asyncio.run(main())
"""


async def test_a_process_that_leaves_grpc_open_ends() -> None:
    """One that ends as soon as it has made a server or a channel ends well, with nothing to say; one that has closed
    its channel, too."""
    turns = asyncio.Semaphore(4)

    async def run(number: int) -> tuple[int | None, bytes]:
        async with turns:
            what = ("server", "channel", "closed")[number % 3]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", textwrap.dedent(AT_ONCE), what, stderr=asyncio.subprocess.PIPE
            )
            try:
                _, said = await asyncio.wait_for(process.communicate(), 40)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            return process.returncode, said

    assert await asyncio.gather(*(run(number) for number in range(PROCESSES))) == [(0, b"")] * PROCESSES
