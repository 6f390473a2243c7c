"""A server under measurement: a process of its own, from its `ready` line to its end, and the CPU time that it used."""

import asyncio
import ctypes
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

SERVE: Final = ("-m", "shoal_server", "serve", "--config", os.devnull)
"""Python's arguments for Shoal's server; a `shoal.toml` of the working directory is about another server."""

_READY_LIMIT_S: Final = 60.0
_ADDRESS: Final = re.compile(r"ready on (127\.0\.0\.1:\d+)")


class MeasuredProcess:
    """``address`` is where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.address = address
        self._pid = process.pid

    def cpu_s(self) -> float:
        """Return the seconds of CPU time that it has used so far, in user mode and in the kernel.

        Raises:
            OSError: it has ended.
        """
        return time.clock_gettime(_cpu_clock(self._pid))


def _cpu_clock(pid: int) -> int:
    """Return the clock of a process, whose CPU time proc(5) has in ticks of 10 ms only (clock_getcpuclockid(3))."""
    clock = ctypes.c_int()
    problem = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if problem:
        raise OSError(problem, os.strerror(problem))
    return clock.value


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[MeasuredProcess]:
    """Run `python ARGUMENTS` for as long as the block lasts.

    Raises:
        RuntimeError: it ended before it was ready.
        TimeoutError: it was not ready in time.
    """
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None, "it was started with a pipe"
        async with asyncio.timeout(_READY_LIMIT_S):
            async for line in process.stdout:
                address = _ADDRESS.search(line.decode())
                if address:
                    break
            else:
                raise RuntimeError(f"{' '.join(arguments)} ended with {await process.wait()} before it was ready")
        yield MeasuredProcess(process, address[1])
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
