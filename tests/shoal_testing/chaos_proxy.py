"""A TCP proxy on a thread of its own that does to connections what networks and clients do to them."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

_CHUNK_BYTES: Final = 1 << 16
_WAIT_S: Final = 15.0

T = TypeVar("T")


@dataclass(slots=True)
class Faults:
    """What happens to the bytes from now on: each chunk waits ``delay_s``, then passes at ``bytes_per_s`` or at once.

    With ``black_hole`` nothing passes any more, and neither side learns of it. ``requests_only`` spares the answers,
    ``answers_only`` the requests.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    black_hole: bool = False
    requests_only: bool = False
    answers_only: bool = False


@dataclass(slots=True)
class ChaosProxy:
    """Connections to ``address`` end at the target. Its methods may be called from any thread."""

    address: str
    faults: Faults
    _loop: asyncio.AbstractEventLoop
    _connections: "list[_Connection]" = field(default_factory=list)

    def reset_all(self) -> int:
        """End every connection by RST, to both sides; return how many there were."""
        return self._run(self._reset_all())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    async def _reset_all(self) -> int:
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        return len(connections)


class _Connection:
    def __init__(self, writers: list[asyncio.StreamWriter]) -> None:
        self._writers = writers
        self._task = asyncio.current_task()

    def reset(self) -> None:
        for writer in self._writers:
            raw: socket.socket = writer.get_extra_info("socket")
            # Closing with a linger time of zero sends RST (socket(7)).
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        if self._task is not None:
            self._task.cancel()


@contextmanager
def chaos_proxy(target: str, faults: Faults | None = None) -> Iterator[ChaosProxy]:
    """Run a proxy before ``target`` (HOST:PORT) while the context lasts."""
    host, _colon, port = target.rpartition(":")
    loop = asyncio.new_event_loop()
    proxy = ChaosProxy("", faults or Faults(), loop)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        connection = _Connection([writer, there_writer])
        proxy._connections.append(connection)  # noqa: SLF001 - this is its making
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, there_writer, lambda: _of(proxy.faults, requests=True)))
                group.create_task(_pump(there_reader, writer, lambda: _of(proxy.faults, requests=False)))
        except asyncio.CancelledError:
            pass  # it was reset, or the proxy ends; asyncio 3.11 would log a connection that is cancelled
        finally:
            proxy._connections.remove(connection)  # noqa: SLF001 - this is its end
            writer.close()
            there_writer.close()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)

    async def end(server: asyncio.Server) -> None:
        server.close()
        await asyncio.sleep(0)  # who has just been accepted comes as far as closing
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, name="chaos-proxy")
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(begin(), loop).result(_WAIT_S)
        proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            asyncio.run_coroutine_threadsafe(end(server), loop).result(_WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _of(faults: Faults, *, requests: bool) -> Faults:
    spared = faults.answers_only if requests else faults.requests_only
    return Faults() if spared else faults


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: Callable[[], Faults]) -> None:
    """Pass on bytes from one side to the other until it ends; the other side is then half-closed."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            now = faults()
            if now.black_hole:
                await asyncio.get_running_loop().create_future()
            if now.delay_s:
                await asyncio.sleep(now.delay_s)
            step = len(data) if now.bytes_per_s is None else max(1, int(now.bytes_per_s / 100))
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
                if now.bytes_per_s is not None:
                    await asyncio.sleep(step / now.bytes_per_s)
        writer.write_eof()
    except OSError:
        writer.transport.abort()
