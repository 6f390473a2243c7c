"""A real server for tests: on a loop and a thread of its own, on whatever port is free."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from shoal_server.app import Server
from shoal_server.config import Settings

WAIT_S = 15.0

transport = "auto"
"""What carries the calls of all servers in this run; the option `--transport` of pytest sets it."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready at ``address``."""

    address: str
    server: Server
    loop: asyncio.AbstractEventLoop


@contextmanager
def running_server(
    models: Path, grace_s: float = 5.0, ready_s: float = WAIT_S, **sections: object
) -> Iterator[RunningServer]:
    """Serve a folder of models while the context lasts; ``sections`` are further fields of Settings.

    ``ready_s`` bounds how long the models may take to load. On leaving, the server is drained, and that everything it
    counted is back at zero is asserted.
    """
    settings = Settings.model_validate({"models": models, "address": "127.0.0.1:0", "transport": transport, **sections})
    started: Future[RunningServer] = Future()
    ended: Future[None] = Future()
    leave = threading.Event()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, grace_s, started, leave))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            ended.set_exception(error)
            if not started.done():
                started.set_exception(error)
        else:
            ended.set_result(None)

    # A daemon: a server that hangs fails its test, and must not keep the run from its end.
    worker = threading.Thread(target=run, name="server-under-test", daemon=True)
    worker.start()
    try:
        yield started.result(ready_s)
    finally:
        leave.set()
        ended.result(grace_s + WAIT_S)
        worker.join(WAIT_S)


async def _serve(settings: Settings, grace_s: float, started: "Future[RunningServer]", leave: threading.Event) -> None:
    """Serve until told to leave, which may be before the start has ended; stop whatever was started."""
    loop = asyncio.get_running_loop()
    server = Server(settings)
    starting = loop.create_task(server.start())
    leaving = loop.run_in_executor(None, leave.wait)
    try:
        await asyncio.wait((starting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            started.set_result(RunningServer(starting.result(), server, loop))
            await leaving
    finally:
        leave.set()
        starting.cancel()
        finished = await server.stop(grace_s)
    assert finished, "something was still under way"
    assert server.inside.requests == server.inside.rows == server.inside.size_bytes == 0
