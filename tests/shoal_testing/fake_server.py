"""A small server on grpc.aio that does what a test tells it, method by method: for what the real one never does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np

from shoal.inference import grpc_service_pb2 as pb
from shoal.methods import METHODS
from shoal_client import RetryOptions

INFERENCE: Final = "/inference.GRPCInferenceService/"
ROW: Final = {"x": np.ones((1, 2), np.float32)}
"""Inputs for a call whose values do not matter."""
SOON: Final = RetryOptions(first_delay_s=0.001, max_delay_s=0.01)
"""Where a test would only wait for the retry."""

Context = Any
"""grpc.aio's; its type has parameters that nobody here needs."""
Unary = Callable[[Any, Context], Awaitable[Any]]
Streaming = Callable[[Any, Context], AsyncIterator[Any]]


class FakeServer:
    """Methods by their path (or the name of one of the inference service's); the rest is UNIMPLEMENTED.

    A unary method is a coroutine function of the parsed request and the context; a streaming one is an async generator
    function of the request, or of the iterator of requests. Answers that are bytes are sent as they are. ``calls``
    counts the calls, ``metadata`` has that of the last one.
    """

    def __init__(self, **methods: Unary | Streaming) -> None:
        self.methods: dict[str, Unary | Streaming] = {INFERENCE + name: method for name, method in methods.items()}
        self.calls: dict[str, int] = {}
        self.metadata: dict[str, Any] = {}
        self.address = ""
        self.server: grpc.aio.Server | None = None

    def handler(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return what answers a method."""
        path = str(details.method)
        method = self.methods.get(path)
        if method is None:
            return None
        name = path.rpartition("/")[2]
        self.calls[name] = self.calls.get(name, 0) + 1
        self.metadata = dict(details.invocation_metadata)
        kind = METHODS[path]
        serializers = {
            "request_deserializer": kind.request.FromString,
            "response_serializer": _bytes,
        }
        if kind.client_streaming:
            return grpc.stream_stream_rpc_method_handler(method, **serializers)  # type: ignore[arg-type]
        if kind.server_streaming:
            return grpc.unary_stream_rpc_method_handler(method, **serializers)  # type: ignore[arg-type]
        return grpc.unary_unary_rpc_method_handler(method, **serializers)  # type: ignore[arg-type]


def _bytes(answer: Any) -> bytes:  # noqa: ANN401 - any message
    serialised: bytes = answer if isinstance(answer, bytes) else answer.SerializeToString()
    return serialised


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._fake.handler(details)


@asynccontextmanager
async def serving(
    fake: FakeServer, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[FakeServer]:
    """Serve on the running loop while the context lasts; ``fake.address`` says where."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([_Handlers(fake)])
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    fake.server = server
    fake.address = f"127.0.0.1:{port}"
    try:
        yield fake
    finally:
        await server.stop(None)


async def fail(context: Context, status: grpc.StatusCode, text: str, pushback_ms: str | None = None) -> None:
    """End a call with a status, and with a hint about coming again."""
    trailers = (("grpc-retry-pushback-ms", pushback_ms),) if pushback_ms is not None else ()
    await context.abort(status, text, trailers)


def echo(request: pb.ModelInferRequest, version: str = "1") -> pb.ModelInferResponse:
    """Answer with the inputs as outputs."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    return response


async def echoing(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
    """Be ModelInfer of a model whose outputs are its inputs."""
    return echo(request)


def one_input(datatype: str, *shape: int, version: str = "1") -> Unary:
    """Be ModelMetadata of a model with the input x and the output y."""

    async def metadata(request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        answer = pb.ModelMetadataResponse(name=request.name, versions=[version])
        answer.inputs.add(name="x", datatype=datatype, shape=shape)
        answer.outputs.add(name="y", datatype=datatype, shape=shape)
        return answer

    return metadata


async def never(_request: object, _context: Context) -> None:
    """Be a method that does not answer."""
    await asyncio.get_running_loop().create_future()


def failing(times: int, status: grpc.StatusCode, pushback_ms: str | None = None) -> FakeServer:
    """Return a server whose ModelInfer fails so often before it works."""

    async def infer(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        if fake.calls["ModelInfer"] <= times:
            await fail(context, status, "not now", pushback_ms)
        return echo(request)

    fake = FakeServer(ModelInfer=infer)
    return fake
