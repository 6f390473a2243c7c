"""The inputs and outputs that a model has, read from what ONNX Runtime says of them."""

import re
from typing import Final, NamedTuple, Protocol

from shoal_server.errors import LoadFailed
from shoal_server.runtime.element_types import element_types
from shoal_server.runtime.reshape import Reshape
from shoal_server.tensors.spec import TensorSpec

_TYPE: Final = re.compile(r"(?P<optional>optional\()?tensor\((?P<element>\w+)\)+")


class NodeArg(Protocol):
    """ONNX Runtime's description of an input or output.

    ``shape`` is [] both for a scalar and for a tensor of unknown rank. A dimension is a number, a symbol, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]


class ModelTensor(NamedTuple):
    """One input or output: ``spec`` is what callers see of it, ``source`` its name in the runtime.

    ``onnx_number`` is as in ``ElementType``; ``reshape`` is set where callers see another shape than the model.
    """

    spec: TensorSpec
    source: str
    onnx_number: int = 0
    reshape: Reshape | None = None


def read_input(arg: NodeArg, *, optional: bool = False) -> ModelTensor:
    """Return an input; ``optional`` where the model has a value of its own for it.

    Raises:
        LoadFailed: it is no tensor, or of a type that the protocol lacks.
    """
    return _read(arg, f"input '{arg.name}'", arg.name, optional=optional)


def read_output(arg: NodeArg, name: str, labels: tuple[str, ...] = ()) -> ModelTensor:
    """Return an output that callers know by ``name``.

    Raises:
        LoadFailed: it is no tensor, or of a type that the protocol lacks.
    """
    output = _read(arg, f"output '{name}'", name)
    if output.spec.optional:
        raise LoadFailed(f"output '{name}' is {arg.type}, which may be missing; the protocol has no such outputs")
    # What has labels stood before a ZipMap, so it has a column for each, though the runtime may not know.
    dims = output.spec.dims or (("", len(labels)) if labels else None)
    return output._replace(spec=TensorSpec(name, output.spec.datatype, dims, labels=labels))


def _read(arg: NodeArg, what: str, name: str, *, optional: bool = False) -> ModelTensor:
    found = _TYPE.fullmatch(arg.type)
    if found is None:
        raise LoadFailed(f"{what} is {arg.type}; the protocol carries tensors only")
    element = element_types.get(found["element"])
    if element is None:
        raise LoadFailed(f"{what} is {arg.type}; the protocol has no such elements")
    dims = tuple(_dim(size) for size in arg.shape) or None
    spec = TensorSpec(name, element.datatype, dims, optional or found["optional"] is not None)
    return ModelTensor(spec, arg.name, element.onnx_number)


def _dim(size: int | str | None) -> int | str:
    if isinstance(size, int):
        return size if size >= 0 else ""
    return size or ""
