"""HTTP/2 by hand: what no well-behaved client would send, or would leave unsent (RFC 9113; RFC 7541 for headers)."""

import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from hpack import Decoder

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE: Final = 4
CANCEL: Final = 8

WITHIN_S: Final = 10.0
_FRAME_BYTES: Final = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(path: str, *more: tuple[str, str]) -> bytes:
    """Return the header block of a gRPC call, nothing in it compressed."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
    fields += [("content-type", "application/grpc"), ("te", "trailers"), *more]
    return b"".join([b"\x00" + _text(name) + _text(value) for name, value in fields])


def grpc_message(message: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*length, rest]) + data


def _data(stream: int, data: bytes, *, end: bool) -> bytes:
    pieces = [data[start : start + _FRAME_BYTES] for start in range(0, len(data), _FRAME_BYTES)] or [b""]
    flags = [0] * (len(pieces) - 1) + [END_STREAM if end else 0]
    return b"".join([frame(DATA, flag, stream, piece) for flag, piece in zip(flags, pieces, strict=True)])


class RawHttp2:
    """A connection that has said hello. ``window_bytes`` is how much of each answer it takes before it wants more.

    ``send`` and what calls it do not ask whether the server wants to have so much; ``write_politely`` does.
    """

    def __init__(self, address: str, window_bytes: int = 65_535) -> None:
        host, _colon, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams = 1
        self._answered: set[int] = set()
        self._decoder = Decoder()
        self._fields: dict[int, dict[bytes, bytes]] = {}
        self._stream_window = self._window = 65_535
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window_bytes)))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def begin(self, path: str, *more: tuple[str, str]) -> int:
        """Send the headers of a call; return its stream."""
        stream = self._next_stream()
        self.send(frame(HEADERS, END_HEADERS, stream, headers(path, *more)))
        return stream

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data of a call, without asking whether it may; ``end`` half-closes the stream."""
        self.send(_data(stream, data, end=end))

    def write_politely(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data of a call as the server takes it: of the one call of this connection that is written so."""
        position = 0
        while position < len(data):
            size = min(_FRAME_BYTES, self._window, self._stream_window, len(data) - position)
            if size <= 0:
                self._heed(*self.read())
                continue
            self.write(stream, data[position : position + size], end=end and position + size == len(data))
            position += size
            self._window -= size
            self._stream_window -= size

    def _heed(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Answer settings and pings, and take note of windows and of who has had data."""
        if kind == DATA:
            self._answered.add(stream)
        if kind == HEADERS:
            fields = self._fields.setdefault(stream, {})
            fields.update((bytes(name), bytes(value)) for name, value in self._decoder.decode(payload, raw=True))
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            self._window += 0 if stream else more
            self._stream_window += more if stream else 0
        if kind == SETTINGS and not flags & ACK:
            for identifier, value in struct.iter_unpack(">HI", payload):
                self._stream_window += value - 65_535 if identifier == INITIAL_WINDOW_SIZE else 0
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.send(frame(kind, ACK, 0, payload if kind == PING else b""))

    def whole_call(self, path: str, message: bytes, *, leave: bool = False) -> bytes:
        """Return, to be sent, a call from its headers to its last byte, and where ``leave`` its cancellation.

        Streams are numbered 1, 3, 5 and so on.
        """
        stream = self._next_stream()
        call = frame(HEADERS, END_HEADERS, stream, headers(path)) + _data(stream, grpc_message(message), end=True)
        return call + frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")) if leave else call

    def cancel(self, stream: int) -> None:
        """Leave a call."""
        self.send(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")))

    def read(self) -> tuple[int, int, int, bytes]:
        """Return the next frame: kind, flags, stream and payload.

        Raises:
            EOFError: the server has closed the connection.
        """
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def read_until(self, kind: int, stream: int | None = None) -> bytes:
        """Skip what comes before the next frame of that kind; return its payload. Settings and pings are answered."""
        while True:
            found, flags, where, payload = self.read()
            self._heed(found, flags, where, payload)
            if found == kind and stream in (None, where):
                return payload

    def status(self, stream: int) -> int:
        """Return the status of a call, as soon as it has one."""
        while b"grpc-status" not in self._fields.get(stream, {}):
            self._heed(*self.read())
        return int(self._fields[stream][b"grpc-status"])

    def field(self, stream: int, name: str) -> str:
        """Return a header or trailer of a call that has come."""
        return self._fields[stream][name.encode()].decode()

    def read_answers(self, streams: Iterable[int]) -> None:
        """Skip what comes until each of these streams has had data, now or before.

        Raises:
            EOFError: the server has closed the connection.
        """
        wanted = set(streams)
        while not wanted <= self._answered:
            self._heed(*self.read())

    def reset(self) -> None:
        """End the connection by RST (socket(7): a linger time of zero)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_stream(self) -> int:
        stream, self._streams = self._streams, self._streams + 2
        return stream

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)
