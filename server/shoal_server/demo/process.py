"""`shoal serve` as a process of its own, from its `ready` line to its exit code."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_READY_LIMIT_S: Final = 60.0
_STOP_LIMIT_S: Final = 45.0  # more than the default grace
_DELAY_MS: Final = (
    5  # these models are done long before gRPC brings the next request: without it, few would share a batch
)
_ADDRESS: Final = re.compile(r"127\.0\.0\.1:\d+")


class DemoFailed(Exception):
    """Something is not as it should be; ``str()`` says what."""


class ServerProcess:
    """A server on a free port of this machine; ``address`` is where."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self.address = address

    async def stop(self) -> None:
        """Ask it to stop, as an orchestrator does, and wait for that.

        Raises:
            DemoFailed: it did not stop in time, or its exit code is not 0.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                exit_code = await self._process.wait()
        except TimeoutError:
            raise DemoFailed(f"the server still ran {_STOP_LIMIT_S:g} s after SIGTERM") from None
        if exit_code:
            raise DemoFailed(f"the server stopped with exit code {exit_code}")


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[ServerProcess]:
    """Serve the models of a folder for as long as the block runs.

    Raises:
        DemoFailed: the server ended or was silent before it was ready.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shoal_server", "serve", str(folder)),
        *("--config", os.devnull),  # a `shoal.toml` of the working directory is about another server
        *("--address", "127.0.0.1:0", "--log-level", "warning", "--batching-delay-ms", str(_DELAY_MS)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield ServerProcess(process, await _ready_address(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready_address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None, "it was started with a pipe"
    try:
        async with asyncio.timeout(_READY_LIMIT_S):
            async for line in process.stdout:
                address = _ADDRESS.search(line.decode())
                if b"ready" in line and address:
                    return address[0]
    except TimeoutError:
        raise DemoFailed(f"the server was not ready within {_READY_LIMIT_S:g} s") from None
    raise DemoFailed(f"the server ended with exit code {await process.wait()} before it was ready")
