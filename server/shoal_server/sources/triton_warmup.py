"""Warm-up requests as a Triton configuration declares them."""

from math import prod
from pathlib import Path
from typing import Final

from shoal.inference.model_config_pb2 import ModelConfig, ModelWarmup
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import Fill, Warmup, WarmupTensor
from shoal_server.sources.naming import file_name_fault, printable
from shoal_server.sources.tree import Tree
from shoal_server.sources.triton_tensors import datatypes

_FOLDER: Final = "warmup"
_MOST_ELEMENTS: Final = 1 << 31  # of one tensor, so that a slip of the pen does not take all memory
_FILLS: Final = {"zero_data": Fill.ZERO, "random_data": Fill.RANDOM, "input_data_file": Fill.FILE}


def warmups_of(
    config: ModelConfig, shown: str, tree: Tree, folder: Path, *, whole: bool
) -> tuple[tuple[Warmup, ...], tuple[str, ...]]:
    """Return the warm-up requests, and a remark for each that runs nothing.

    ``whole`` says that dims include the first dimension, so that a request has no rows to choose. Files lie in the
    model's folder ``warmup``.

    Raises:
        LoadFailed: a request cannot be made as it is declared.
    """
    warmups, remarks = [], []
    for index, warmup in enumerate(config.model_warmup):
        path = f"model_warmup[{index}]"
        place = f"{shown}: '{path}'"
        if not warmup.batch_size:
            remarks.append(f"{place} is skipped: its batch_size is 0")
            continue
        most_rows = config.max_batch_size
        if whole and warmup.batch_size > 1:
            raise LoadFailed(f"{place} has batch_size {warmup.batch_size}, wanted 1: the model has no max_batch_size")
        if most_rows and warmup.batch_size > most_rows:
            raise LoadFailed(f"{place} has batch_size {warmup.batch_size}, max_batch_size is {most_rows}")
        rows = 0 if whole else warmup.batch_size
        inputs = {
            name: _tensor(tensor, f"{shown}: '{path}.inputs[{printable(name)}]'", max(rows, 1), tree, folder)
            for name, tensor in sorted(warmup.inputs.items())
        }
        warmups.append(Warmup(warmup.name or path, rows, inputs, warmup.count or 1))
    return tuple(warmups), tuple(remarks)


def _tensor(tensor: ModelWarmup.Input, place: str, rows: int, tree: Tree, folder: Path) -> WarmupTensor:
    datatype = datatypes.get(tensor.data_type)
    if datatype is None:
        raise LoadFailed(f"{place} has no data_type of the protocol")
    dims = tuple(tensor.dims)
    if any(size < 0 for size in dims):
        raise LoadFailed(f"{place} has dims {list(dims)}, wanted every size given")
    elements = prod(dims)
    if elements * rows > _MOST_ELEMENTS:
        raise LoadFailed(f"{place} has {elements * rows} elements, wanted at most {_MOST_ELEMENTS}")
    kind = tensor.WhichOneof("input_data_type")
    if kind is None:
        raise LoadFailed(f"{place} has no data, wanted one of {', '.join(_FILLS)}")
    fill = _FILLS[kind]
    if fill is not Fill.FILE:
        return WarmupTensor(datatype, dims, fill)
    fault = file_name_fault(tensor.input_data_file)
    if fault is not None:
        raise LoadFailed(
            f"{place} has input_data_file {tensor.input_data_file!r:.120}, which is no file's name: {fault}"
        )
    file = folder / _FOLDER / tensor.input_data_file
    size_bytes = tree.require_file(file)
    if size_bytes < elements * datatype.itemsize:
        raise LoadFailed(
            f"{place} takes {elements * datatype.itemsize} bytes for dims {list(dims)} and {datatype.value}, "
            f"{tree.name(file)} has {size_bytes}"
        )
    return WarmupTensor(datatype, dims, fill, file)
