"""Calls in our own messages, for what the stock clients cannot say or do not show."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message

from shoal.methods import METHODS

INFERENCE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

WITHIN_S = 15.0

A = TypeVar("A", bound=Message)
A_co = TypeVar("A_co", bound=Message, covariant=True)

Metadata = Iterable[tuple[str, str]]


class Answers(Protocol[A_co]):
    """A call under way: its answers as they come, and how it ended, which ``code`` waits for."""

    def __iter__(self) -> Iterator[A_co]: ...
    def __next__(self) -> A_co: ...
    def cancel(self) -> bool: ...
    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str: ...


class Wire:
    """A channel of its own to one server. A path is that of ``shoal.methods``; each call ends within ``WITHIN_S``."""

    def __init__(self, address: str, *options: tuple[str, int]) -> None:
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1), *options])

    def call(self, path: str, request: Message | bytes, answer: type[A]) -> A:
        """Make a unary call; ``bytes`` are sent as they are.

        Raises:
            grpc.RpcError: the call ended with another status than OK.
        """
        method = METHODS[path]
        assert method.response is answer
        caller: grpc.UnaryUnaryMultiCallable[Message | bytes, A] = self.channel.unary_unary(
            path, request_serializer=_bytes, response_deserializer=answer.FromString
        )
        return caller(request, timeout=WITHIN_S)

    def watch(self, path: str, request: Message | bytes, answer: type[A]) -> Answers[A]:
        """Begin a call with one request and many answers."""
        assert METHODS[path].response is answer
        caller: grpc.UnaryStreamMultiCallable[Message | bytes, A] = self.channel.unary_stream(
            path, request_serializer=_bytes, response_deserializer=answer.FromString
        )
        return caller(request, timeout=WITHIN_S)

    def stream(
        self, path: str, requests: Iterable[Message | bytes], answer: type[A], metadata: Metadata = ()
    ) -> Answers[A]:
        """Begin a call with many requests and many answers; the requests are read on another thread."""
        assert METHODS[path].response is answer
        caller: grpc.StreamStreamMultiCallable[Message | bytes, A] = self.channel.stream_stream(
            path, request_serializer=_bytes, response_deserializer=answer.FromString
        )
        return caller(iter(requests), timeout=WITHIN_S, metadata=tuple(metadata))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
