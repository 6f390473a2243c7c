"""Shapes that callers see otherwise than the model: the same elements in the same order."""

from dataclasses import dataclass

from shoal_server.tensors.batch import Array
from shoal_server.tensors.value import Shape

Dims = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """``seen`` is what callers send and get, ``own`` what the model takes and gives.

    A str is a dimension of any size; the first one on the one side has the size of the first on the other, and so on.
    """

    seen: Dims
    own: Dims

    def to_model(self, array: Array) -> Array:
        """Return what a caller sent in the model's shape."""
        return array.reshape(_translate(array.shape, self.seen, self.own))

    def to_caller(self, array: Array) -> Array:
        """Return what the model gave in the shape that callers expect."""
        return array.reshape(_translate(array.shape, self.own, self.seen))


def _translate(shape: Shape, dims: Dims, target: Dims) -> Shape:
    open_sizes = iter([size for size, dim in zip(shape, dims, strict=True) if isinstance(dim, str)])
    return tuple(dim if isinstance(dim, int) else next(open_sizes) for dim in target)
