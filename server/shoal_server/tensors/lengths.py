"""Inputs whose length differs from request to request: what they are, and how long a request is. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from shoal_server.errors import InvalidRequest
from shoal_server.options import Generate
from shoal_server.tensors.value import Shape, Value


class Column(NamedTuple):
    """An input that depends on the length.

    ``axis`` is the dimension that is the length, >= 1, or 0 where the input has one number for each row. ``pad`` fills
    it up, as its numpy type holds it. ``generate`` says what the server makes up where the caller does not send it.
    """

    name: str
    axis: int
    pad: object
    generate: Generate | None


class Extent(NamedTuple):
    """A request's ``length``, and the ``bucket`` that it is at least padded to, >= 1."""

    length: int
    bucket: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """The owner's declaration, held against a signature.

    ``columns`` has an item for each input, None for those that no length touches; ``cuts`` one for each output: the
    axis along which it is cut to its request's length, 0 for those that are not. ``max_length`` is the longest that is
    taken, 0 for any. ``edges`` are the lengths that the model runs at, ascending, empty for any. ``joined`` says that
    padding was found to change no answer; where it is False, only equal lengths share a batch.
    """

    columns: tuple[Column | None, ...]
    cuts: tuple[int, ...]
    max_length: int = 0
    edges: tuple[int, ...] = ()
    joined: bool = True

    @property
    def generated(self) -> frozenset[int]:
        """The inputs, by number, that a caller may leave out."""
        return frozenset(i for i, column in enumerate(self.columns) if column is not None and column.generate)

    def unjoined(self) -> "Lengths":
        """Return the same for a model to which padding would make a difference."""
        return replace(self, joined=False)

    def bucket(self, length: int) -> int:
        """Return the length that a request of ``length`` is at least padded to: the next edge, else its own."""
        if not self.joined:
            return length
        position = bisect_left(self.edges, length)
        return self.edges[position] if position < len(self.edges) else length

    def measure(self, values: Sequence[Value | None]) -> int:
        """Return the length of a request, whose inputs stand in the signature's order and are of the right rank.

        Raises:
            InvalidRequest: two inputs have different lengths or numbers of rows, or it is too long.
        """
        first: tuple[Column, Shape] | None = None
        for column, value in zip(self.columns, values, strict=True):
            if column is None or value is None or not column.axis:
                continue
            shape = value.shape
            if first is None:
                first = column, shape
                continue
            other, other_shape = first
            length, wanted = shape[column.axis], other_shape[other.axis]
            if (shape[0], length) != (other_shape[0], wanted):
                raise InvalidRequest(
                    f"input '{column.name}' has {shape[0]} rows of length {length} (axis {column.axis}), and input "
                    f"'{other.name}' has {other_shape[0]} of length {wanted} (axis {other.axis})"
                )
        assert first is not None, "one input that gives the length must be sent"
        column, shape = first
        length = shape[column.axis]
        if self.max_length and length > self.max_length:
            raise InvalidRequest(
                f"input '{column.name}' has length {length} on axis {column.axis}; the longest that is taken is "
                f"{self.max_length}"
            )
        return length

    def tail(self, index: int, shape: Shape) -> Shape | None:
        """Return what must be equal in two requests' shapes of an input for them to share a batch; None for nothing."""
        column = self.columns[index]
        if column is not None and column.generate is not None:
            return None  # it may have been left out, and says nothing that others do not say
        if column is None or not self.joined:
            return shape[1:]
        return shape[1 : column.axis] + shape[column.axis + 1 :]
