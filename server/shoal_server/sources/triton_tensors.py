"""Inputs and outputs as a Triton configuration declares them."""

from collections.abc import Sequence
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Final

from shoal.inference.model_config_pb2 import DataType as TritonType
from shoal.inference.model_config_pb2 import ModelConfig, ModelInput, ModelOutput
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor
from shoal_server.sources.naming import file_name_fault
from shoal_server.sources.tree import Tree
from shoal_server.tensors.datatype import DataType

ANY: Final = -1
"""A dimension of any size."""

_LABELS_LIMIT_BYTES: Final = 16 << 20
_UNDECLARED: Final = 0

datatypes: Final = {
    number: DataType.BYTES if name == "TYPE_STRING" else DataType(name.removeprefix("TYPE_"))
    for name, number in TritonType.items()
    if number != _UNDECLARED
}
"""Triton's enum number -> element type."""


def declared_inputs(config: ModelConfig, shown: str, *, whole: bool) -> tuple[DeclaredTensor, ...]:
    """Return the inputs that the configuration declares; ``whole`` as in ``DeclaredTensor``.

    Raises:
        LoadFailed: a declaration contradicts itself or another.
    """
    _require_distinct(config.input, f"{shown}: 'input'")
    return tuple(
        _declared(tensor, f"{shown}: 'input[{index}]'", whole=whole, optional=tensor.optional)
        for index, tensor in enumerate(config.input)
    )


def declared_outputs(
    config: ModelConfig, shown: str, tree: Tree, folder: Path, *, whole: bool
) -> tuple[DeclaredTensor, ...]:
    """Return the outputs that the configuration declares, with their labels, which lie in files beside it.

    Raises:
        LoadFailed: a declaration contradicts itself or another, or a file of labels cannot be read.
    """
    _require_distinct(config.output, f"{shown}: 'output'")
    outputs = []
    for index, tensor in enumerate(config.output):
        place = f"{shown}: 'output[{index}]'"
        labels = _labels(tensor.label_filename, place, tree, folder) if tensor.label_filename else ()
        outputs.append(_declared(tensor, place, whole=whole, labels=labels))
    return tuple(outputs)


def _require_distinct(tensors: Sequence[ModelInput] | Sequence[ModelOutput], place: str) -> None:
    names = [tensor.name for tensor in tensors]
    if "" in names:
        raise LoadFailed(f"{place} has an entry without a name")
    twice = next((name for name, same in groupby(sorted(names)) if len(list(same)) > 1), None)
    if twice is not None:
        raise LoadFailed(f"{place} declares {twice!r:.120} twice")


def _declared(
    tensor: ModelInput | ModelOutput, place: str, *, whole: bool, optional: bool = False, labels: tuple[str, ...] = ()
) -> DeclaredTensor:
    datatype = datatypes.get(tensor.data_type)
    if datatype is None and tensor.data_type != _UNDECLARED:
        raise LoadFailed(f"{place} has data_type {tensor.data_type}, which is none of the protocol's")
    dims = _sizes(tensor.dims, f"{place} has dims")
    reshape = _sizes(tensor.reshape.shape, f"{place} has reshape") if tensor.HasField("reshape") else dims
    if _segments(reshape) != _segments(dims):
        raise LoadFailed(f"{place} has dims {list(dims)} and reshape {list(reshape)}, wanted as many elements in both")
    return DeclaredTensor(
        tensor.name, datatype, dims, optional, labels, whole=whole, reshape=None if reshape == dims else reshape
    )


def _sizes(sizes: Sequence[int], what: str) -> tuple[int, ...]:
    if any(size < ANY for size in sizes):
        raise LoadFailed(f"{what} {list(sizes)}, wanted sizes >= 0, or -1 for any")
    return tuple(sizes)


def _segments(dims: tuple[int, ...]) -> list[int]:
    """Return the number of elements between the dimensions of any size; equal lists hold the same elements in order."""
    return [prod(group) for is_any, group in groupby((*_spaced(dims),), lambda size: size == ANY) if not is_any]


def _spaced(dims: tuple[int, ...]) -> list[int]:
    """Put a 1 around every dimension of any size, which changes no count and gives every segment a member."""
    spaced = [1]
    for size in dims:
        spaced += [size, 1] if size == ANY else [size]
    return spaced


def _labels(file_name: str, place: str, tree: Tree, folder: Path) -> tuple[str, ...]:
    fault = file_name_fault(file_name)
    if fault is not None:
        raise LoadFailed(f"{place} has label_filename {file_name!r:.120}, which is no file's name: {fault}")
    lines = tree.read_text(folder / file_name, _LABELS_LIMIT_BYTES).splitlines()
    return tuple(line.strip() for line in lines)
