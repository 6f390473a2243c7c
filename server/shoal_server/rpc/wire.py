"""Protocol Buffers by hand, for the few bytes that the hot path writes itself (protobuf.dev, "Encoding")."""

LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """Return a non-negative number as a base-128 varint."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field_header(number: int, size_bytes: int) -> bytes:
    """Return what stands before the ``size_bytes`` bytes of a length-delimited field."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(size_bytes)
