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
    settings = Settings.model_validate({"models": models, "address": "127.0.0.1:0", **sections})
    started: Future[RunningServer] = Future()
    leave = threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        try:
            server = Server(settings)
            address = await server.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result(RunningServer(address, server, loop))
        await loop.run_in_executor(None, leave.wait)
        assert await server.stop(grace_s), "something was still under way"
        assert server.inside.requests == server.inside.rows == server.inside.size_bytes == 0

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    outcome: Future[None] = Future()

    def thread() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    worker = threading.Thread(target=thread, name="server-under-test")
    worker.start()
    try:
        yield started.result(ready_s)
    finally:
        leave.set()
        outcome.result(grace_s + WAIT_S)
        worker.join()
