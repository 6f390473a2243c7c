"""The requests of a load, serialised: made up from a model's metadata, or from arrays that the user gave.

What a model declares decides; arrays that do not fit it are refused here, with the reason, before any load runs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shoal.inference.grpc_service_pb2 import ModelInferRequest, ModelMetadataResponse
from shoal_bench.order import Payload
from shoal_bench.scenario import Request

Array = npt.NDArray[Any]
_Specs = Sequence[ModelMetadataResponse.TensorMetadata]

_DTYPES: Final = {
    "BOOL": np.dtype("?"),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_TEXT: Final = "BYTES"
_LENGTH_BYTES: Final = 4
_MOST_BYTES: Final = 1 << 30


class PayloadError(Exception):
    """The arrays do not fit the model, or none can be made up for it; says which input and why."""


def made_up(request: Request, metadata: ModelMetadataResponse, seed: int) -> list[Payload]:
    """Return the request's variants, with random elements and, where dimensions are free, random sizes.

    Raises:
        PayloadError: an input's type is unknown here, or the server does not tell what the model takes.
    """
    if not metadata.inputs:
        raise PayloadError(
            f"the server does not tell what model '{request.model}' takes, so none can be made up: use --input"
        )
    random = np.random.default_rng(seed)
    low, high = request.lengths
    payloads = []
    for _ in range(request.variants):
        # Spread evenly over the orders of magnitude, since most texts are short. One size for all inputs of a request.
        length = round(math.exp(random.uniform(math.log(low), math.log(high))))
        arrays = {
            spec.name: _random(random, spec, _sizes(spec.shape, request.rows, length)) for spec in metadata.inputs
        }
        payloads.append(_payload(request, metadata.inputs, arrays, request.weight / request.variants))
    return payloads


def given(request: Request, metadata: ModelMetadataResponse, arrays: Mapping[str, Array]) -> Payload:
    """Return the request that sends these arrays; as they are, where the server does not tell what the model takes.

    Raises:
        PayloadError: one is missing, unknown, or of a type or shape that the model does not take.
    """
    specs = {spec.name: spec for spec in metadata.inputs or _specs_of(arrays)}
    unknown = sorted(set(arrays) - set(specs))
    if unknown:
        raise PayloadError(f"model '{request.model}' has no input '{unknown[0]}'; it takes {_described(metadata)}")
    missing = [name for name in specs if name not in arrays]
    if missing:
        raise PayloadError(
            f"input '{missing[0]}' of model '{request.model}' is missing; it takes {_described(metadata)}"
        )
    fitting = {name: _fitting(array, specs[name], request.model) for name, array in arrays.items()}
    return _payload(request, list(specs.values()), fitting, request.weight)


def _specs_of(arrays: Mapping[str, Array]) -> list[ModelMetadataResponse.TensorMetadata]:
    """Return what a model would declare that takes just these arrays."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    return [
        ModelMetadataResponse.TensorMetadata(name=name, datatype=names.get(array.dtype, _TEXT), shape=array.shape)
        for name, array in arrays.items()
    ]


def _fitting(array: Array, spec: ModelMetadataResponse.TensorMetadata, model: str) -> Array:
    wanted = _dtype(spec, model)
    where = f"input '{spec.name}' of model '{model}' takes {spec.datatype}{list(spec.shape)}"
    if len(spec.shape) != array.ndim or any(
        size not in (-1, have) for size, have in zip(spec.shape, array.shape, strict=True)
    ):
        raise PayloadError(f"{where}, got an array of shape {list(array.shape)}")
    if wanted is None:
        if array.dtype.kind not in "OSU" or not all(isinstance(item, str | bytes) for item in array.ravel().tolist()):
            raise PayloadError(f"{where}, got {array.dtype}, which is no text")
        return array
    if array.dtype == wanted:
        return array
    # As people write numbers in JSON: whole ones for FP32 and for INT64 alike, if none changes by it.
    converted = array.astype(wanted) if array.dtype.kind in "iuf" and wanted.kind in "iuf" else None
    if converted is None or not (wanted.kind == "f" or np.array_equal(converted, array)):
        raise PayloadError(f"{where}, got an array of {array.dtype}")
    return converted


def _random(random: np.random.Generator, spec: ModelMetadataResponse.TensorMetadata, shape: tuple[int, ...]) -> Array:
    wanted = _dtype(spec, spec.name)
    if wanted is None:
        texts = np.empty(math.prod(shape), object)
        texts[:] = [f"text {number}" for number in random.integers(0, 1000, len(texts))]
        return texts.reshape(shape)
    if math.prod(shape) * wanted.itemsize > _MOST_BYTES:
        raise PayloadError(
            f"input '{spec.name}' would have {math.prod(shape) * wanted.itemsize} bytes; send fewer rows"
        )
    if wanted.kind == "f":
        return random.random(shape).astype(wanted)
    # 0 and 1 are valid for every input of whole numbers that we know of: ids, masks, flags.
    return random.integers(0, 2, shape).astype(wanted)


def _dtype(spec: ModelMetadataResponse.TensorMetadata, model: str) -> np.dtype[Any] | None:
    """Return the type of an input's elements; None for texts."""
    if spec.datatype == _TEXT:
        return None
    if spec.datatype not in _DTYPES:
        raise PayloadError(f"input '{spec.name}' of '{model}' is {spec.datatype}, of which nothing can be made up here")
    return _DTYPES[spec.datatype]


def _sizes(dims: Sequence[int], rows: int, length: int) -> tuple[int, ...]:
    """Fill in the free dimensions: the first is the rows, the others have the length."""
    return tuple(dim if dim >= 0 else (rows if index == 0 else length) for index, dim in enumerate(dims))


def _payload(request: Request, specs: _Specs, arrays: Mapping[str, Array], weight: float) -> Payload:
    message = ModelInferRequest(model_name=request.model)
    for spec in specs:
        array = arrays[spec.name]
        message.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        message.raw_input_contents.append(_raw(array))
    return Payload(message.SerializeToString(), request.model, weight)


def _raw(array: Array) -> bytes:
    if array.dtype.kind not in "OSU":
        return array.tobytes()
    texts = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)


def _described(metadata: ModelMetadataResponse) -> str:
    return ", ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in metadata.inputs) or "none"
