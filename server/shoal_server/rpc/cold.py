"""What all cold methods share: bytes to messages, messages to bytes, errors to statuses."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from shoal.methods import METHODS
from shoal_server.errors import InvalidRequest, ShoalError
from shoal_server.rpc.failure import fail, fail_by_bug
from shoal_server.transport.port import Call, Stream

Q = TypeVar("Q", bound=Message)

MOST_BYTES: Final = 1 << 18
"""Of a message: what is asked here is small, and a map of two-byte entries takes a hundred times its size in memory."""

Route = Callable[[Call], Coroutine[Any, Any, None]]
StreamRoute = Callable[[Stream], Coroutine[Any, Any, None]]


def parsed(kind: type[Q], message: bytes) -> Q:
    """Return the message's fields.

    Raises:
        InvalidRequest: the bytes are no such message, or too many.
    """
    if len(message) > MOST_BYTES:
        raise InvalidRequest(f"a {kind.DESCRIPTOR.name} has at most {MOST_BYTES} bytes, got {len(message)}")
    try:
        return kind.FromString(message)
    except DecodeError:
        raise InvalidRequest(f"malformed request: the message is not a {kind.DESCRIPTOR.name}") from None


def cold(path: str, kind: type[Q], answer: Callable[[Q], Awaitable[Message]]) -> tuple[str, Route]:
    """Return a path and its route, which calls ``answer`` with the parsed request and always ends the call."""
    assert METHODS[path].request is kind, f"{path} takes {METHODS[path].request}"

    async def route(call: Call) -> None:
        try:
            response = await answer(parsed(kind, call.message))
            call.reply(response.SerializeToString())
        except ShoalError as error:
            fail(call, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours fails its call and no other
            fail_by_bug(call, error)

    return path, route


def streamed(
    path: str, kind: type[Q], answer: Callable[[Q, Stream], Coroutine[Any, Any, None]]
) -> tuple[str, StreamRoute]:
    """Return a path and its route, which calls ``answer`` with the one request of a stream that it is to fill."""
    assert METHODS[path].request is kind, f"{path} takes {METHODS[path].request}"

    async def route(stream: Stream) -> None:
        try:
            await answer(parsed(kind, await stream.receive() or b""), stream)
        except ShoalError as error:
            fail(stream, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours fails its call and no other
            fail_by_bug(stream, error)

    return path, route
