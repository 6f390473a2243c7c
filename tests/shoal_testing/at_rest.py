"""What a server holds, looked at from outside its loop; and whether it has come to rest."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from shoal_server.batching.batcher import Batcher
from shoal_testing.server import RunningServer

WITHIN_S: Final = 10.0
_POLL_S: Final = 0.001

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """What is under way: in the gate, on the versions, in the batchers."""

    requests: int
    rows: int
    size_bytes: int
    leases: int
    waiting: int
    running: int


NOTHING: Final = Held(0, 0, 0, 0, 0, 0)


def on_loop(running: RunningServer, look: Callable[[], T]) -> T:
    """Return what ``look`` returns on the server's loop."""
    found: Future[T] = Future()

    def call() -> None:
        try:
            found.set_result(look())
        except BaseException as error:  # noqa: BLE001 - it is the test's
            found.set_exception(error)

    running.loop.call_soon_threadsafe(call)
    return found.result(WITHIN_S)


def held(running: RunningServer) -> Held:
    """Return what the server holds now."""

    def look() -> Held:
        inside = running.server.inside
        slots = list(running.server.manager.catalog.slots())
        batchers = [slot.engine for slot in slots if slot.engine is not None]
        return Held(
            inside.requests,
            inside.rows,
            inside.size_bytes,
            sum(slot.leases for slot in slots),
            sum(batcher.waiting for batcher in batchers),
            sum(batcher.running for batcher in batchers),
        )

    return on_loop(running, look)


def batcher_of(running: RunningServer, model: str) -> Batcher:
    """Return what serves the newest version of a model."""
    return on_loop(running, lambda: running.server.manager.catalog.resolve(model, "").serving())


def tasks(running: RunningServer) -> int:
    """Return how many tasks the server's loop has."""
    return on_loop(running, lambda: len(asyncio.all_tasks(running.loop)))


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def eventually(running: RunningServer, look: Callable[[], T], wanted: Callable[[T], bool], what: str) -> T:
    """Wait until what ``look`` finds is as wanted, and return it; it is called from the test's thread."""

    async def pause() -> None:
        await asyncio.sleep(_POLL_S)

    ends_s = running.loop.time() + WITHIN_S
    while not wanted(found := look()):
        assert running.loop.time() < ends_s, f"{what}: still {found} after {WITHIN_S} s"
        asyncio.run_coroutine_threadsafe(pause(), running.loop).result(WITHIN_S)
    return found


def wait_until_held(server: RunningServer, **wanted: int) -> Held:
    """Wait until the named counts are as wanted."""
    return eventually(
        server,
        lambda: held(server),
        lambda now: all(getattr(now, name) == count for name, count in wanted.items()),
        f"wanted {wanted}",
    )


def assert_at_rest(running: RunningServer) -> None:
    """Wait until the server holds nothing any more."""
    eventually(running, lambda: held(running), lambda now: now == NOTHING, "the server did not come to rest")
