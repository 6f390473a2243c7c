"""A tensor's shape and elements, as they go through the server."""

from typing import Any, Final, NamedTuple, Protocol

Shape = tuple[int, ...]

IN_PLACE: Final = (bytes, memoryview)
"""What holds raw elements in one place."""


class Scattered(Protocol):
    """Raw elements that lie in several places, to be copied once, when and to where they are needed."""

    def __len__(self) -> int:
        """In bytes."""
        ...

    def __getitem__(self, part: slice, /) -> "Scattered":
        """Return some of them, in order and without gaps; no copy."""
        ...

    def copy_to(self, whole: Any, /) -> None:  # noqa: ANN401 - the buffer protocol has no type before Python 3.12
        """Copy them to a writable buffer of as many bytes."""
        ...

    def tobytes(self) -> bytes:
        """Return a copy."""
        ...


Raw = bytes | Scattered
"""A tensor's elements as they came, row-major and little-endian."""

Payload = bytes | memoryview | Scattered | list[str]
"""A tensor's elements, row-major: raw and little-endian, or for BYTES the decoded strings."""


class Value(NamedTuple):
    """One checked input: ``prod(shape)`` elements in ``payload``."""

    shape: Shape
    payload: Payload

    def cut(self, start: int, rows: int) -> "Value":
        """Return so many rows from ``start`` on, of the rows (one or more) that the first dimension counts; no copy."""
        shape, payload = self
        row = len(payload) // shape[0]
        whole = memoryview(payload) if isinstance(payload, bytes) else payload
        return Value((rows, *shape[1:]), whole[start * row : (start + rows) * row])
