"""What the owner declares of inputs and outputs, held against what the model has."""

from collections.abc import Sequence
from dataclasses import replace

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor
from shoal_server.runtime.model_tensors import ModelTensor
from shoal_server.runtime.reshape import Dims, Reshape
from shoal_server.tensors.spec import TensorSpec

_ANY = -1


def agree(
    kind: str, tensors: Sequence[ModelTensor], declared: Sequence[DeclaredTensor], *, has_rows: bool
) -> tuple[ModelTensor, ...]:
    """Narrow what the model has by what its owner declares; ``kind`` is "input" or "output".

    ``has_rows`` says that the owner declares a first dimension that counts rows, for tensors that are not ``whole``.
    Without that their number of dimensions tells whether the first one is among them.

    Raises:
        LoadFailed: a declared tensor is not in the model, or is something else there; the text names both.
    """
    by_name = {tensor.name: tensor for tensor in declared}
    names = [tensor.spec.name for tensor in tensors]
    for name in by_name:
        if name not in names:
            raise LoadFailed(f"{kind} '{name}' is declared, the model has {names}")
    return tuple(
        _agree(kind, tensor, by_name[tensor.spec.name], has_rows=has_rows) if tensor.spec.name in by_name else tensor
        for tensor in tensors
    )


def _agree(kind: str, model_tensor: ModelTensor, declared: DeclaredTensor, *, has_rows: bool) -> ModelTensor:
    tensor = model_tensor.spec
    what = f"{kind} '{tensor.name}'"
    if declared.datatype is not None and declared.datatype is not tensor.datatype:
        raise LoadFailed(f"{what} is declared {declared.datatype.value}, the model has {tensor.datatype.value}")
    if declared.optional and not tensor.optional:
        raise LoadFailed(f"{what} is declared optional, the model cannot do without it")
    labels = declared.labels or tensor.labels
    sizes = declared.dims if declared.reshape is None else declared.reshape
    lacks_first = tensor.dims is not None and len(tensor.dims) == len(sizes) + 1
    rows = not declared.whole and (has_rows or lacks_first)
    if declared.reshape is None:
        # No dims at all are left to the model, as in Triton, unless the model leaves them open itself.
        says_dims = bool(sizes) or tensor.dims is None
        dims = _narrow(what, tensor, sizes, rows=rows) if says_dims else tensor.dims
        return model_tensor._replace(spec=replace(tensor, dims=dims, labels=labels))
    _narrow(what, tensor, sizes, rows=rows)
    seen = _dims(declared.dims, rows=rows)
    return model_tensor._replace(
        spec=replace(tensor, dims=seen, labels=labels), reshape=Reshape(seen, _dims(declared.reshape, rows=rows))
    )


def _narrow(what: str, tensor: TensorSpec, sizes: tuple[int, ...], *, rows: bool) -> Dims | None:
    """Return the model's dims with the declared sizes where the model leaves them open.

    ``rows``: the declared sizes lack the first dimension, which counts rows.
    """
    declared = _dims(sizes, rows=rows)
    if tensor.dims is None:
        # A scalar is what an unknown rank looks like, too, so the owner may know better.
        return declared or None
    shown = f"{what} is declared with dims {list(sizes)}{' after the rows' if rows else ''}"
    if rows and isinstance(tensor.dims[0], int):
        raise LoadFailed(f"{shown}, the model has {list(tensor.shape)}, whose first dimension does not vary")
    if len(declared) != len(tensor.dims):
        raise LoadFailed(f"{shown}, the model has {list(tensor.shape)}")
    merged = []
    for own, wanted in zip(tensor.dims, declared, strict=True):
        if isinstance(own, int) and isinstance(wanted, int) and own != wanted:
            raise LoadFailed(f"{shown}, the model has {list(tensor.shape)}")
        merged.append(wanted if isinstance(wanted, int) else own)
    return tuple(merged)


def _dims(sizes: tuple[int, ...], *, rows: bool) -> Dims:
    dims: Dims = tuple("" if size == _ANY else size for size in sizes)
    return ("", *dims) if rows else dims
