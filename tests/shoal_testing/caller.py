"""Calls of a caller who may be a fool or a foe: any bytes to any path, and what came back as a value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc
import numpy as np
import numpy.typing as npt

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.tensors.text import encode_text

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
WITHIN_S: Final = 15.0

Array = npt.NDArray[Any]
Metadata = Sequence[tuple[str, str | bytes]]

_WHOLE: Final = {f"{sign}INT{8 * size}": f"{sign or 'i'}{size}".lower() for sign in ("", "U") for size in (1, 2, 4, 8)}
_OTHERS: Final = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O"}
TYPES: Final = {np.dtype(kind): name for name, kind in (_WHOLE | _OTHERS).items()}
"""The protocol's name of each of numpy's types; ``object`` stands for strings."""


def request_of(model: str, *outputs: str, **inputs: Array) -> pb.ModelInferRequest:
    """Return a request with raw contents; arrays of ``object`` hold strings and travel as BYTES."""
    request = pb.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        add_input(request, name, array)
    for output in outputs:
        request.outputs.add(name=output)
    return request


def add_input(request: pb.ModelInferRequest, name: str, array: Array) -> None:
    """Append an input and its raw contents."""
    request.inputs.add(name=name, datatype=TYPES[array.dtype], shape=array.shape)
    texts = array.dtype == object
    request.raw_input_contents.append(b"".join(encode_text(array.ravel().tolist())) if texts else array.tobytes())


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: the name of its status, the text that came with it, and the answer of an OK."""

    status: str
    text: str = ""
    message: bytes = b""

    @property
    def answer(self) -> pb.ModelInferResponse:
        """The answer of an inference that succeeded."""
        assert self.status == "OK", self
        return pb.ModelInferResponse.FromString(self.message)

    def array(self, kind: str = "f4", output: int = 0) -> Array:
        """Return one output of an inference that succeeded; no strings."""
        answer = self.answer
        return np.frombuffer(answer.raw_output_contents[output], kind).reshape(answer.outputs[output].shape)


class Pending:
    """A call under way."""

    def __init__(self, future: "grpc.Future[bytes]") -> None:
        self._future = future

    def cancel(self) -> None:
        """Leave."""
        self._future.cancel()

    @property
    def over(self) -> bool:
        """Whether the outcome is there."""
        return bool(self._future.done())

    def outcome(self, timeout_s: float = WITHIN_S) -> Outcome:
        """Wait for the end."""
        try:
            return Outcome("OK", message=self._future.result(timeout_s))
        except grpc.FutureCancelledError:
            return Outcome("CANCELLED")
        except grpc.RpcError as error:
            return _failed(error)


class Caller:
    """A connection of its own to one server."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        options: list[tuple[str, int]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        self.channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )

    def begin(
        self,
        message: bytes,
        path: str = INFER,
        *,
        timeout_s: float | None = WITHIN_S,
        metadata: Metadata = (),
        compression: grpc.Compression | None = None,
    ) -> Pending:
        """Send bytes to a unary method and return at once."""
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return Pending(method.future(message, timeout=timeout_s, metadata=tuple(metadata), compression=compression))

    def call(self, message: bytes, path: str = INFER, **more: Any) -> Outcome:  # noqa: ANN401 - those of begin
        """Send bytes to a unary method and wait for the end."""
        return self.begin(message, path, **more).outcome()

    def infer(self, request: pb.ModelInferRequest, **more: Any) -> Outcome:  # noqa: ANN401 - those of begin
        """Ask for an inference."""
        return self.call(request.SerializeToString(), **more)

    def exchange(
        self, messages: Iterable[bytes], path: str, *, timeout_s: float = WITHIN_S, metadata: Metadata = ()
    ) -> tuple[list[bytes], Outcome]:
        """Send messages on a stream and half-close; return what came back, and how the stream ended."""
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(path)
        received: list[bytes] = []
        try:
            received.extend(method(iter(messages), timeout=timeout_s, metadata=tuple(metadata)))
        except grpc.RpcError as error:
            return received, _failed(error)
        return received, Outcome("OK")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


def _failed(error: grpc.RpcError) -> Outcome:
    return Outcome(error.code().name, error.details() or "")
