"""Messages on protobuf's wire, with the fields that a request has, those that it has not, and what is hardly right."""

from random import Random
from typing import Final

_DEEPEST: Final = 3
_NUMBERS: Final = (0, 1, 127, 128, 2**31, 2**32, 2**63, 2**64 - 1)


def wire_message(random: Random, deep: int = 0) -> bytes:
    """Return a message of up to twelve fields, and of up to four in each of these."""
    return b"".join(_field(random, deep) for _ in range(random.randint(0, 4 if deep else 12)))


def _varint(number: int, padding: int = 0) -> bytes:
    """Return a number as it travels, with so many bytes more than it takes."""
    taken = bytearray()
    while number >= 0x80 or padding:
        if number < 0x80:
            padding -= 1
        taken.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*taken, number])


def _field(random: Random, deep: int) -> bytes:
    number = random.choice([1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 7, 9, 100]) if random.random() < 0.99 else 0
    kind = random.choice([0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 5]) if random.random() < 0.99 else random.choice([4, 6, 7])
    tag = _varint(number << 3 | kind, random.choice([0] * 38 + [1, 4]))
    inner = wire_message(random, deep + 1) if kind in {2, 3} and deep < _DEEPEST else b""
    if kind == 2 and random.random() < 0.2:
        inner = random.choice([b"x", b"\xff" * 11])
    match kind:
        case 0:
            number = random.choice(_NUMBERS)
            return tag + random.choice([_varint(number)] * 18 + [_varint(number, 1), b"\xff" * 11, b"\xff"])
        case 1:
            return tag + bytes(8)
        case 2:
            size = max(0, len(inner) + random.choice([0] * 98 + [1, -1]))
            return tag + _varint(size, random.choice([0] * 9 + [1])) + inner
        case 3:
            return tag + inner + _varint(random.choice([number] * 38 + [8]) << 3 | 4)
        case 5:
            return tag + bytes(4)
    return tag
