"""An echo over the native transport: every call is answered with the same bytes, from Python, and nothing else is done.

`python -m shoal_bench.native_echo SIZE_BYTES [FOLDER]` listens on a free port of 127.0.0.1 and prints it in a `ready`
line. With a folder it speaks mTLS by the files `server.pem`, `server.key` and `ca.pem` there.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from shoal_server.clock import MonotonicClock
from shoal_server.transport.native import NativeOptions, NativeTransport
from shoal_server.transport.port import Call, Routes, TlsMaterial

METHOD = "/inference.GRPCInferenceService/ModelInfer"


async def serve(answer: bytes, tls: TlsMaterial | None) -> None:
    """Answer every call with ``answer`` until the process is told to stop."""

    def handle(calls: Sequence[Call]) -> None:
        for call in calls:
            call.reply(answer)

    options = NativeOptions("127.0.0.1:0", 64 << 20, 16 << 10, max_calls=1 << 15)
    transport = NativeTransport(options, Routes(hot={METHOD: handle}), MonotonicClock(), tls)
    sys.stdout.write(f"ready on {await transport.start()}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def _material(folder: Path) -> TlsMaterial:
    return TlsMaterial(*((folder / name).read_bytes() for name in ("server.pem", "server.key", "ca.pem")))


if __name__ == "__main__":
    uvloop.run(serve(bytes(int(sys.argv[1])), _material(Path(sys.argv[2])) if len(sys.argv) > 2 else None))  # noqa: PLR2004
