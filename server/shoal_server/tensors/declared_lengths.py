"""The owner's declaration of variable lengths, held against what the model takes and gives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shoal_server.errors import LoadFailed
from shoal_server.options import Generate, LengthOptions, VariableInput
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.spec import TensorSpec

_INTEGERS = "iu"


def resolve(options: LengthOptions, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Lengths:
    """Return the declaration in the order of a signature.

    Raises:
        LoadFailed: it names what the model has not, an axis that does not vary, or a value that does not fit.
    """
    _require_known("input", options.inputs, inputs)
    _require_known("output", options.outputs, outputs)
    columns = tuple(
        _Declared(spec, options.inputs[spec.name]).column() if spec.name in options.inputs else None for spec in inputs
    )
    if not any(column is not None and column.axis and column.generate is None for column in columns):
        raise LoadFailed("[lengths] names no input that gives the length: one with an axis that is not generated")
    cuts = tuple(options.outputs.get(spec.name, 0) for spec in outputs)
    for spec, axis in zip(outputs, cuts, strict=True):
        if axis:
            _require_axis("output", spec, axis)
    return Lengths(columns, cuts, options.max_length, options.edges)


def _require_known(kind: str, named: Iterable[str], specs: Sequence[TensorSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in named:
        if name not in known:
            raise LoadFailed(f"[lengths] names {kind} '{name}', the model has {known}")


def _require_axis(kind: str, spec: TensorSpec, axis: int) -> None:
    dims = spec.dims
    what = f"[lengths] says axis {axis} of {kind} '{spec.name}'"
    if dims is None:
        if kind == "input":
            raise LoadFailed(f"{what}, whose number of dimensions is unknown")
        return
    if not 1 <= axis < len(dims):
        raise LoadFailed(f"{what}, which has {len(dims)} dimensions; wanted one after axis 0, which counts rows")
    if isinstance(dims[axis], int):
        raise LoadFailed(f"{what}, which always has size {dims[axis]} there")


@dataclass(frozen=True, slots=True)
class _Declared:
    """One input and what its owner says of it."""

    spec: TensorSpec
    said: VariableInput

    def column(self) -> Column:
        spec, said = self.spec, self.said
        if spec.optional:
            raise LoadFailed(f"[lengths] names input '{spec.name}', which is optional")
        if said.generate is Generate.LENGTH:
            self._require_place_for_numbers()
        else:
            _require_axis("input", spec, said.axis)
        if said.generate is not None:
            if spec.datatype is DataType.BYTES or (said.pad is not False and said.pad != 0):
                raise LoadFailed(
                    f"[lengths] has a {said.generate.value} generated for input '{spec.name}': it takes "
                    f"{spec.datatype.value}, and 'pad' is {said.pad!r}; wanted numbers, and no 'pad'"
                )
            free = [axis for axis, dim in enumerate(spec.dims or ()) if axis and isinstance(dim, str)]
            if [axis for axis in free if axis != said.axis]:
                raise LoadFailed(f"[lengths]: input '{spec.name}' cannot be generated, as its axes {free} vary")
        return Column(spec.name, said.axis, self._pad(), said.generate)

    def _require_place_for_numbers(self) -> None:
        spec = self.spec
        dims = spec.dims or ()
        if self.said.axis or spec.datatype.dtype.kind not in _INTEGERS or list(dims[1:]) not in ([], [1]) or not dims:
            raise LoadFailed(
                f"[lengths] has lengths generated for input '{spec.name}', which takes {spec.datatype.value} of shape "
                f"{list(spec.shape)}; wanted whole numbers, one for each row, and no 'axis'"
            )

    def _pad(self) -> object:
        """Return the value as the input's numpy type holds it."""
        datatype, pad = self.spec.datatype, self.said.pad
        if datatype is DataType.BYTES:
            fits = isinstance(pad, str) or (pad == 0 and not isinstance(pad, bool | float))
            value: object = pad if isinstance(pad, str) else ""
        elif datatype is DataType.BOOL:
            fits = isinstance(pad, bool) or (isinstance(pad, int) and pad == 0)
            value = bool(pad)
        elif isinstance(pad, str | bool):
            fits, value = False, None
        elif datatype is DataType.BF16:
            fits, value = True, int(np.float32(pad).view(np.uint32)) >> 16
        elif datatype.dtype.kind in _INTEGERS:
            limits = np.iinfo(datatype.dtype)
            fits = isinstance(pad, int) and limits.min <= pad <= limits.max
            value = pad
        else:
            largest = float(np.finfo(datatype.dtype).max)
            fits = not largest < abs(pad) < float("inf")
            value = float(pad)
        if not fits:
            raise LoadFailed(f"[lengths] pads input '{self.spec.name}', of {datatype.value}, with {pad!r}")
        return value
