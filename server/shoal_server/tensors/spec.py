"""What a model takes and gives: the signature, and the check of a request against it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Final, NamedTuple, cast

from shoal_server.errors import InvalidRequest
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Extent, Lengths
from shoal_server.tensors.text import decode_text
from shoal_server.tensors.value import Payload, Raw, Shape, Value

MAX_EXTENT_OF_NOTHING = 1 << 24  # elements that a tensor would have if its dimensions of size 0 were 1
_MOST_FORMS: Final = 256
MAX_RANK: Final = 32  # deeper tensors exist in no operator set; numpy itself stops at 64

type_names = {datatype.value: datatype for datatype in DataType}


class Tensor(NamedTuple):
    """One input as a caller sent it: nothing is checked yet.

    ``data`` is the raw form of the protocol: row-major, little-endian, BYTES elements with a 4-byte length each.
    """

    name: str
    datatype: str
    shape: Shape
    data: Raw


InputForm = tuple[str, str, Shape]
"""Name, element type and shape of an input as a caller sent it."""


class PlainTensors(NamedTuple):
    """The same as tensors, of which only the data differ from request to request; ``inputs`` and ``data`` are as long.

    Requests of one form share the object ``inputs``.
    """

    inputs: tuple[InputForm, ...]
    data: Sequence[Raw]


# A third of what it takes to call the class: for requests like one before, there is nothing else to make.
_value: Final = cast("Callable[[tuple[Shape, Payload]], Value]", partial(tuple.__new__, Value))


class Checked(NamedTuple):
    """A request that fits the signature.

    ``values`` stand in the signature's order, None for an optional input left out. ``rows`` is the size of the batch
    dimension, 1 for a model without one. Requests of equal ``key`` may share a batch; None means it runs alone. Where
    the owner declares lengths, ``extent`` is there, and what is to be generated is None among the values, too.
    """

    values: tuple[Value | None, ...]
    rows: int
    key: tuple[object, ...] | None
    extent: Extent | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one input or output.

    A dimension is an int (fixed), or a str (symbolic: any size; the empty string is an unnamed one). ``dims`` None
    means that even the rank is unknown. ``labels`` are the class names of the last dimension where the model has them.
    """

    name: str
    datatype: DataType
    dims: tuple[int | str, ...] | None
    optional: bool = False
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape as the protocol writes it: -1 for a dimension of any size."""
        return tuple(dim if isinstance(dim, int) else -1 for dim in self.dims or ())

    def check(self, tensor: Tensor) -> Value:
        """Return the tensor's shape and payload.

        Raises:
            InvalidRequest: the type, rank, a dimension or the number of bytes is not what the model takes.
        """
        if tensor.datatype != self.datatype.value:
            wanted = (
                f"{tensor.datatype} data" if tensor.datatype in type_names else f"unknown type {tensor.datatype!r:.40}"
            )
            raise InvalidRequest(f"input '{self.name}' takes {self.datatype.value}, got {wanted}")
        shape = tensor.shape
        if shape != self.dims:
            self._check_shape(shape)
        count = prod(shape)
        if not count and prod([size or 1 for size in shape]) > MAX_EXTENT_OF_NOTHING:
            # No bytes came that would bound the other dimensions, but numpy, and what a model makes of it, overflow.
            raise InvalidRequest(f"input '{self.name}' is too large: {list(shape)}")
        if self.datatype is DataType.BYTES:
            return Value(shape, decode_text(self.name, _in_place(tensor.data), count))
        wanted_bytes = count * self.datatype.itemsize
        if len(tensor.data) != wanted_bytes:
            raise InvalidRequest(
                f"input '{self.name}' of shape {list(shape)} and type {self.datatype.value} "
                f"takes {wanted_bytes} bytes, got {len(tensor.data)}"
            )
        if self.datatype is DataType.BOOL and _in_place(tensor.data).translate(None, b"\x00\x01"):
            raise InvalidRequest(f"input '{self.name}' is BOOL: every byte is 0 or 1, got others")
        return Value(shape, tensor.data)

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) > MAX_RANK:
            raise InvalidRequest(f"input '{self.name}' has {len(shape)} dimensions; at most {MAX_RANK} are possible")
        for size in shape:
            if size < 0:
                raise InvalidRequest(f"input '{self.name}' has a negative dimension: {list(shape)}")
        if self.dims is None:
            return
        if len(shape) != len(self.dims) or any(
            isinstance(dim, int) and dim != size for dim, size in zip(self.dims, shape, strict=True)
        ):
            raise InvalidRequest(
                f"unexpected shape for input '{self.name}': takes {list(self.shape)}, got {list(shape)}"
            )


class KnownForm(NamedTuple):
    """What follows from the names, types and shapes of a request's inputs alone."""

    sizes_bytes: list[int]
    shapes: tuple[Shape, ...]
    left_out: tuple[int, ...]
    rows: int
    key: tuple[object, ...] | None
    extent: Extent | None
    """The last three as of ``Checked``."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of one model version, in the model's order.

    ``batched`` says that the first dimension of every tensor counts rows which do not influence each other, so that
    requests may be concatenated there. It is a finding about the model, not a wish. ``lengths`` is there where the
    owner declares which inputs vary in length.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool
    lengths: Lengths | None = None
    _known: dict[tuple[tuple[object, ...], ...], KnownForm] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _positions: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _required: frozenset[int] = field(init=False, repr=False, compare=False)
    _cut_by_size: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_positions", {spec.name: index for index, spec in enumerate(self.inputs)})
        required = frozenset(index for index, spec in enumerate(self.inputs) if not spec.optional)
        generated = self.lengths.generated if self.lengths is not None else frozenset()
        object.__setattr__(self, "_required", required - generated)
        by_size = all(spec.datatype is not DataType.BYTES for spec in self.outputs)
        object.__setattr__(self, "_cut_by_size", by_size)

    def check(self, tensors: Sequence[Tensor] | PlainTensors) -> Checked:
        """Hold a request's inputs against the signature.

        Most requests look like one before: for a form seen to be right, only the sizes are compared.

        Raises:
            InvalidRequest: an input is missing, unknown, sent twice, or is not what its spec takes.
        """
        if isinstance(tensors, PlainTensors):
            inputs, data = tensors
            known = self._known.get(inputs)
            if known is not None and known.sizes_bytes == list(map(len, data)):
                values: tuple[Value | None, ...] = tuple(map(_value, zip(known.shapes, data, strict=True)))
                if known.left_out:
                    values = _with_gaps(values, known.left_out)
                return Checked(values, known.rows, known.key, known.extent)
            tensors = [Tensor(*form, elements) for form, elements in zip(inputs, data, strict=True)]
        form = tuple([tensor[:3] for tensor in tensors])
        known = self._known.get(form)
        if known is not None and known.sizes_bytes == [len(tensor.data) for tensor in tensors]:
            values = tuple([Value(tensor.shape, tensor.data) for tensor in tensors])
            if known.left_out:
                values = _with_gaps(values, known.left_out)
            return Checked(values, known.rows, known.key, known.extent)
        checked = self._check(tensors)
        if self._is_plain(tensors):
            if len(self._known) >= _MOST_FORMS:
                self._known.clear()
            left_out = tuple([index for index, value in enumerate(checked.values) if value is None])
            sizes_bytes = [len(tensor.data) for tensor in tensors]
            self._known[form] = KnownForm(
                sizes_bytes, tuple([tensor.shape for tensor in tensors]), left_out, *checked[1:]
            )
        return checked

    def joinable(self, inputs: tuple[InputForm, ...], sizes_bytes: list[int]) -> KnownForm | None:
        """Return what is known of requests with such inputs, of so many bytes each, that are one batch as they stand.

        None where no such request was seen to be right, where they are not to be concatenated input by input, and where
        the answers are not to be cut by size.
        """
        known = self._known.get(inputs)
        if known is None or known.sizes_bytes != sizes_bytes or known.left_out or self.lengths is not None:
            return None
        return known if known.key is not None and self._cut_by_size else None

    def _is_plain(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the size is all that can be wrong with such a request, and its inputs stand in our order."""
        names = list(self._positions)
        if self.lengths is not None:
            sent = {tensor.name for tensor in tensors}
            names = [name for index, name in enumerate(names) if name in sent or index not in self.lengths.generated]
        return [tensor.name for tensor in tensors] == names and not any(
            spec.datatype in (DataType.BYTES, DataType.BOOL) for spec in self.inputs
        )

    def _check(self, tensors: Sequence[Tensor]) -> Checked:
        values: list[Value | None] = [None] * len(self.inputs)
        positions = self._positions
        for tensor in tensors:
            index = positions.get(tensor.name)
            if index is None:
                raise InvalidRequest(f"unknown input {tensor.name!r:.120}; the model takes {list(positions)}")
            if values[index] is not None:
                raise InvalidRequest(f"input '{tensor.name}' is given twice")
            values[index] = self.inputs[index].check(tensor)
        if len(tensors) < len(values):
            for index in self._required:
                if values[index] is None:
                    raise InvalidRequest(
                        f"input '{self.inputs[index].name}' is missing; the model takes {list(positions)}"
                    )
        checked = self._batch(tuple(values)) if self.batched else Checked(tuple(values), 1, None)
        if self.lengths is None:
            return checked
        length = self.lengths.measure(values)
        if not length or checked.key is None:
            return checked._replace(key=None, extent=Extent(length, max(length, 1)))
        return checked._replace(extent=Extent(length, self.lengths.bucket(length)))

    def check_outputs(self, names: Sequence[str]) -> None:
        """Hold the names of requested outputs against the signature.

        Raises:
            InvalidRequest: a name is unknown or stands twice.
        """
        known = [spec.name for spec in self.outputs]
        for name in names:
            if name not in known:
                raise InvalidRequest(f"unknown output {name!r:.120}; the model gives {known}")
        if len(set(names)) != len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise InvalidRequest(f"output {twice!r} is requested twice")

    def _batch(self, values: tuple[Value | None, ...]) -> Checked:
        """Count the rows; the key is made of all that must be equal for two requests to be concatenated."""
        rows = -1
        key: list[object] = []
        for index, (spec, value) in enumerate(zip(self.inputs, values, strict=True)):
            if value is None or spec.optional:
                # An overridden default or an optional tensor has no rows of its own, so such a request runs alone.
                if value is not None:
                    return Checked(values, max(_rows(values), 1), None)
                continue
            size = value.shape[0]
            if rows not in (-1, size):
                # Whether such inputs broadcast is for the model to say; concatenation would change the meaning.
                return Checked(values, max(_rows(values), 1), None)
            rows = size
            tail = value.shape[1:] if self.lengths is None else self.lengths.tail(index, value.shape)
            if tail is not None:
                key.append(tail)
        return Checked(values, rows if key else 1, tuple(key) if rows > 0 else None)


def _in_place(raw: Raw) -> bytes:
    return raw if isinstance(raw, bytes) else raw.tobytes()


def _with_gaps(values: tuple[Value | None, ...], left_out: tuple[int, ...]) -> tuple[Value | None, ...]:
    """Return the values with None at the places of those that were left out, ascending."""
    with_gaps = list(values)
    for index in left_out:
        with_gaps.insert(index, None)
    return tuple(with_gaps)


def _rows(values: tuple[Value | None, ...]) -> int:
    return max((value.shape[0] for value in values if value is not None and value.shape), default=0)
