"""A transport alone, with routes that do what a test asks: what every adapter of the port has to get right."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Final

import grpc
import uvloop

from shoal_server.clock import MonotonicClock
from shoal_server.mailbox import Mailbox
from shoal_server.transport.choice import open_transport
from shoal_server.transport.headers import header_finder
from shoal_server.transport.port import Call, ListenerOptions, Routes, Status, Stream, TlsMaterial, Transport

WAIT_S: Final = 10.0
PATH: Final = "/test.Contract/"
MESSAGE_BYTES: Final = 1 << 20
METADATA_BYTES: Final = 8 << 10


def unary(channel: grpc.Channel, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """Return a method of the service that takes and gives bytes."""
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH + name)
    return method


@dataclass(slots=True)
class Service:
    """Routes under ``PATH``, and what has happened in them."""

    held: SimpleQueue[Call] = field(default_factory=SimpleQueue)
    left: SimpleQueue[str] = field(default_factory=SimpleQueue)
    lists: list[int] = field(default_factory=list)
    """How many calls of Echo came at once."""
    refused: list[bool] = field(default_factory=list)
    """For each call of Refuse that was heard, whether the transport refuses its like by itself."""
    counted: list[int] = field(default_factory=list)
    """How many it did refuse so."""

    def routes(self) -> Routes:
        hot = {"Echo": self._echo, "Hold": self._hold, "Fail": self._fail, "Describe": self._describe, "Raise": _raise}
        hot |= {"Refuse": self._refuse, "Carrying": _carrying}
        cold = {"Cold": _cold, "ColdRaise": _cold_raise, "ColdHold": self._cold_hold}
        streams = {
            "Chat": self._chat,
            "Count": _count,
            "StreamFail": _stream_fail,
            "StreamRaise": _stream_raise,
            "Burst": self._burst,
        }
        return Routes(
            {PATH + name: route for name, route in hot.items()},
            {PATH + name: route for name, route in cold.items()},
            {PATH + name: route for name, route in streams.items()},
            frozenset({PATH + "Count"}),
        )

    def _echo(self, calls: Sequence[Call]) -> None:
        self.lists.append(len(calls))
        for call in calls:
            call.reply(call.message)

    def _hold(self, calls: Sequence[Call]) -> None:
        """Keep the calls for the test to answer."""
        for call in calls:
            call.on_cancel(lambda call=call: self.left.put(call.message.decode()))  # type: ignore[misc] # mypy infers no type for a default
            self.held.put(call)

    def _fail(self, calls: Sequence[Call]) -> None:
        """Fail as the message says."""
        for call in calls:
            wanted = json.loads(call.message)
            trailers = [(name, bytes(value) if isinstance(value, list) else value) for name, value in wanted[2]]
            call.fail(Status(wanted[0]), wanted[1], trailers)

    def _refuse(self, calls: Sequence[Call]) -> None:
        """Refuse, and have all like it refused: those with a deadline, where it has one, up to a minute from then."""
        for call in calls:
            call.fail(Status.RESOURCE_EXHAUSTED, "full", [("grpc-retry-pushback-ms", "20")])
            before_s = None if call.deadline_s is None else call.deadline_s + 60.0
            whose = dict(call.metadata).get("told-apart-by", "")
            assert isinstance(whose, str)
            held = call.hold(whose, Status.RESOURCE_EXHAUSTED, "full", 20, before_s, 0.005, self.counted.append)
            self.refused.append(held)

    def _describe(self, calls: Sequence[Call]) -> None:
        for call in calls:
            told: dict[str, Any] = {
                "method": call.method,
                "metadata": [
                    [name, list(value) if isinstance(value, bytes) else value] for name, value in call.metadata
                ],
                "deadline_s": call.deadline_s,
                "address": call.peer.address,
                "identity": call.peer.identity,
            }
            call.reply(json.dumps(told).encode())

    async def _cold_hold(self, call: Call) -> None:
        try:
            self.held.put(call)
            await asyncio.Event().wait()
        finally:
            self.left.put(call.message.decode())

    async def _chat(self, stream: Stream) -> None:
        try:
            while (message := await stream.receive()) is not None:
                stream.send(message)
        finally:
            self.left.put("chat")

    async def _burst(self, stream: Stream) -> None:
        """Send as many messages of a KiB as the first one says; count, one by one, how many are on their way."""
        first = await stream.receive()
        assert first is not None
        count = int(first)
        try:
            for number in range(count):
                stream.send(bytes(1024))
                await stream.sent(number)
                self.left.put(str(number))
        except asyncio.CancelledError:
            self.left.put("burst")
            raise


def _raise(_calls: Sequence[Call]) -> None:
    raise RuntimeError("a bug, as the test wishes")


def _carrying(calls: Sequence[Call]) -> None:
    """Answer with the header ``word``."""
    found = dict(header_finder()(calls, "word"))
    for place, call in enumerate(calls):
        call.reply(json.dumps(found.get(place)).encode())


async def _cold(call: Call) -> None:
    await asyncio.sleep(0)
    call.reply(call.message[::-1])


async def _cold_raise(_call: Call) -> None:
    raise RuntimeError("a bug, as the test wishes")


async def _count(stream: Stream) -> None:
    message = await stream.receive()
    assert message is not None
    assert await stream.receive() is None
    for number in range(int(message)):
        stream.send(str(number).encode())


async def _stream_fail(stream: Stream) -> None:
    stream.send(b"before")
    stream.fail(Status.FAILED_PRECONDITION, "enough", [("reason", "told")])
    await asyncio.Event().wait()


async def _stream_raise(stream: Stream) -> None:
    stream.send(b"before")
    await stream.sent(1)
    raise RuntimeError("a bug, as the test wishes")


@dataclass(frozen=True, slots=True)
class Listening:
    """A transport that serves at ``address``."""

    address: str
    transport: Transport
    service: Service
    loop: asyncio.AbstractEventLoop

    def stop(self, grace_s: float) -> "Future[None]":
        """Begin to stop."""
        return asyncio.run_coroutine_threadsafe(self.transport.stop(grace_s), self.loop)


@contextmanager
def listening(
    kind: str,
    tls: TlsMaterial | None = None,
    address: str = "127.0.0.1:0",
    max_calls: int = 1000,
    **native: float,
) -> Iterator[Listening]:
    """Serve by that transport while the context lasts; ``native`` are further options of the native one."""
    service = Service()
    started: Future[Listening] = Future()
    leave = threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        clock, routes = MonotonicClock(), service.routes()
        try:
            if native:
                adapter = import_module("shoal_server.transport.native")
                limits = adapter.NativeOptions(address, MESSAGE_BYTES, METADATA_BYTES, max_calls, **native)
                transport: Transport = adapter.NativeTransport(limits, routes, clock, tls)
            else:
                options = ListenerOptions(address, MESSAGE_BYTES, METADATA_BYTES, max_calls)
                chosen: Any = kind
                transport = open_transport(chosen, options, routes, clock, Mailbox(loop), max_bytes=1 << 28, tls=tls)
            try:
                bound = await transport.start()
            except OSError:
                await transport.stop(WAIT_S)
                raise
        except Exception as error:  # noqa: BLE001 - it is the test's
            started.set_exception(error)
            return
        started.set_result(Listening(bound, transport, service, loop))
        await loop.run_in_executor(None, leave.wait)
        await transport.stop(0)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="transport-under-test")
    thread.start()
    try:
        yield started.result(WAIT_S)
    finally:
        leave.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
