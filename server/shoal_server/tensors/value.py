"""A tensor's shape and elements, as they go through the server."""

from typing import NamedTuple

Shape = tuple[int, ...]
Payload = bytes | memoryview | list[str]
"""A tensor's elements, row-major: raw little-endian bytes, or for BYTES the decoded strings."""


class Value(NamedTuple):
    """One checked input: ``prod(shape)`` elements in ``payload``."""

    shape: Shape
    payload: Payload

    def cut(self, start: int, rows: int) -> "Value":
        """Return so many rows from ``start`` on, of the rows (one or more) that the first dimension counts; no copy."""
        shape, payload = self
        row = len(payload) // shape[0]
        whole = payload if isinstance(payload, list) else memoryview(payload)
        return Value((rows, *shape[1:]), whole[start * row : (start + rows) * row])
