"""A server of the Open Inference Protocol that computes nothing, and can be made to stall. On the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

INFER = "/inference.GRPCInferenceService/ModelInfer"


class EchoingServer:
    """Answers ModelInfer with the request's bytes. ``on_call`` is told of each call's number, from 1 on."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.address = address
        self.calls = 0
        self.on_call: Callable[[int], None] = lambda _number: None
        self._open = asyncio.Event()
        self._open.set()
        self._each_s = 0.0
        self._turn = asyncio.Lock()

    def one_by_one(self, each_s: float) -> None:
        """Answer one call at a time from now on, and take so long for each."""
        self._each_s = each_s

    def stall(self, for_s: float) -> None:
        """Let nobody have an answer for so long."""
        self._open.clear()
        asyncio.get_running_loop().call_later(for_s, self._open.set)

    async def _infer(self, message: bytes, _context: object) -> bytes:
        self.calls += 1
        self.on_call(self.calls)
        await self._open.wait()
        if self._each_s:
            async with self._turn:
                done = asyncio.Event()
                asyncio.get_running_loop().call_later(self._each_s, done.set)
                await done.wait()
        return message

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the context lasts."""
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._infer)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
        )
        self.address = f"127.0.0.1:{server.add_insecure_port(self.address)}"
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)
