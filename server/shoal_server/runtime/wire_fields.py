"""The fields of a protobuf message, without parsing it.

Parsing a forest of 28 MB holds the interpreter's lock for 100 ms, in which the server answers nobody; most of it is
attributes that nobody here wants to see. Their lengths are enough to walk past them.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

# Wire types (protobuf.dev, "Encoding").
_VARINT: Final = 0
_SIZED: Final = 2
_FIXED_BYTES: Final = {1: 8, 5: 4}

_MORE: Final = 0x80  # set in every byte of a number but its last
_LOW: Final = 0x7F


class Octets(Protocol):
    """Bytes by their positions: those of a memoryview, or of a file."""

    def __getitem__(self, position: int, /) -> int:
        """Return one."""
        ...


class Field(NamedTuple):
    """One field: its number, where it begins (with its tag), where its value does, and where both end."""

    number: int
    start: int
    value: int
    end: int


def fields(message: Octets, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies between two positions.

    Raises:
        ValueError: that is no message.
    """
    position = start
    while position < end:
        tag, value = varint(message, position, end)
        wire_type = tag & 7
        if wire_type == _SIZED:
            size_bytes, value = varint(message, value, end)
            after = value + size_bytes
        elif wire_type == _VARINT:
            _number, after = varint(message, value, end)
        elif wire_type in _FIXED_BYTES:
            after = value + _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"a field of the unknown wire type {wire_type}")
        if after > end:
            raise ValueError("a field that is longer than its message")
        yield Field(tag >> 3, position, value, after)
        position = after


def varint(message: Octets, position: int, end: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it.

    Raises:
        ValueError: it does not end within the message.
    """
    number = shift = 0
    while position < end:
        byte = message[position]
        position += 1
        number |= (byte & _LOW) << shift
        if byte < _MORE:
            return number, position
        shift += 7
    raise ValueError("a number that does not end")


def sized(number: int, size_bytes: int) -> bytes:
    """Return what stands before a value of that size in a field with that number."""
    return _encoded(number << 3 | _SIZED) + _encoded(size_bytes)


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number >= _MORE:
        encoded.append(number & _LOW | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
