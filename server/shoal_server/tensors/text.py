"""BYTES elements: the protocol's length-prefixed form to and from text."""

from collections.abc import Iterable
from typing import Final

from shoal_server.errors import InvalidRequest

MOST_TEXTS: Final = 1 << 18
"""Elements of one BYTES input. Each of them is touched on the loop, where a quarter of a million takes 0.1 s."""

_PREFIX_BYTES: Final = 4


def decode_text(name: str, raw: bytes, count: int) -> list[str]:
    """Return the ``count`` strings of a raw BYTES tensor (each: 4-byte little-endian length, then UTF-8).

    Raises:
        InvalidRequest: the lengths do not add up to ``count``, there are more than ``MOST_TEXTS``, or an element is not
            UTF-8, which is all that an ONNX string tensor can hold.
    """
    texts: list[str] = []
    position, end = 0, len(raw)
    if count * _PREFIX_BYTES > end:
        raise InvalidRequest(f"input '{name}' takes {count} BYTES elements, {end} bytes cannot hold their lengths")
    if count > MOST_TEXTS:
        raise InvalidRequest(f"input '{name}' has {count} BYTES elements, at most {MOST_TEXTS} are possible")
    for index in range(count):
        if position == end:
            raise InvalidRequest(f"input '{name}' takes {count} BYTES elements, got {index}")
        start = position + _PREFIX_BYTES
        position = start + int.from_bytes(raw[position:start], "little")
        if start > end or position > end:
            raise InvalidRequest(f"input '{name}': BYTES element {index} is longer than the data that came")
        try:
            texts.append(raw[start:position].decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"input '{name}': BYTES element {index} is not valid UTF-8") from error
    if position < end:
        raise InvalidRequest(f"input '{name}' takes {count} BYTES elements, {end - position} bytes more came")
    return texts


def encode_text(texts: Iterable[str]) -> list[bytes]:
    """Return each string in raw form, its length before it."""
    encoded = [text.encode() for text in texts]
    return [len(item).to_bytes(_PREFIX_BYTES, "little") + item for item in encoded]


def join_raw(elements: Iterable[bytes]) -> bytes:
    """Return byte strings as one raw BYTES tensor."""
    return b"".join([len(element).to_bytes(_PREFIX_BYTES, "little") + element for element in elements])
