"""The owner's warm-up requests."""

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from shoal_server.errors import ExecutionFailed, InvalidRequest, LoadFailed
from shoal_server.lifecycle.definition import Fill, Warmup, WarmupTensor
from shoal_server.runtime.made_up import Execute, Profile, Recipe
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec
from shoal_server.tensors.text import decode_text

_PREFIX_BYTES: Final = 4  # of every BYTES element in raw form


def run_warmup(warmup: Warmup, inputs: Sequence[TensorSpec], execute: Execute) -> None:
    """Run a declared request as often as its owner wants.

    Raises:
        LoadFailed: it does not fit the model, its data cannot be read, or the model fails on it.
    """
    what = f"warm-up '{warmup.name}'"
    for name in warmup.inputs:
        if name not in [spec.name for spec in inputs]:
            raise LoadFailed(f"{what} has input '{name}', the model takes {[spec.name for spec in inputs]}")
    arrays = [_array(what, warmup, spec) for spec in inputs]
    try:
        for _ in range(warmup.count):
            execute(arrays)
    except ExecutionFailed as error:
        raise LoadFailed(f"{what} failed: {error}") from error


def _array(what: str, warmup: Warmup, spec: TensorSpec) -> Array | None:
    tensor = warmup.inputs.get(spec.name)
    if tensor is None:
        if spec.optional:
            return None
        raise LoadFailed(f"{what} lacks input '{spec.name}'")
    if tensor.datatype is not spec.datatype:
        raise LoadFailed(
            f"{what} has {tensor.datatype.value} for input '{spec.name}', the model takes {spec.datatype.value}"
        )
    shape = (warmup.rows, *tensor.dims) if warmup.rows else tensor.dims
    if tensor.fill is Fill.FILE:
        return _from_file(f"{what}, input '{spec.name}'", tensor, shape, warmup.rows)
    exact = TensorSpec(spec.name, spec.datatype, shape)
    recipe = Recipe([exact], frozenset(), {}, ["warm-up"])
    profile = Profile.ZERO if tensor.fill is Fill.ZERO else Profile.ORDINARY
    return recipe.draw(np.random.default_rng(0), profile, 1)[0]


def _from_file(what: str, tensor: WarmupTensor, shape: tuple[int, ...], rows: int) -> Array:
    """Return the file's first row, as often as there are rows."""
    assert tensor.file is not None, "a source gives the file with Fill.FILE"
    try:
        raw = tensor.file.read_bytes()
    except OSError as error:
        raise LoadFailed(f"{what}: {tensor.file.name} cannot be read: {error.strerror or error}") from error
    count = prod(tensor.dims)
    try:
        row = _texts(raw, count) if tensor.datatype is DataType.BYTES else _numbers(raw, count, tensor.datatype)
    except (ValueError, InvalidRequest) as error:
        raise LoadFailed(f"{what}: {tensor.file.name} does not hold {count} elements: {error}") from error
    return np.tile(row, max(rows, 1)).reshape(shape)


def _numbers(raw: bytes, count: int, datatype: DataType) -> Array:
    return np.frombuffer(raw, datatype.dtype, count)


def _texts(raw: bytes, count: int) -> Array:
    end = 0
    for _ in range(count):
        end += _PREFIX_BYTES + int.from_bytes(raw[end : end + _PREFIX_BYTES], "little")
    array = np.empty(count, object)
    array[:] = decode_text("warm-up", raw[:end], count)
    return array
