"""What a caller asks for, and the message that says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from shoal.inference.grpc_service_pb2 import ModelInferRequest
from shoal_client.datatypes import TYPES, Array, DataType, datatype_of
from shoal_client.errors import InvalidInput
from shoal_client.result import Parameter, write_parameter
from shoal_client.signature import Key, ModelMetadata
from shoal_client.tensors import to_raw
from shoal_client.values import to_array

Inputs = Mapping[str, Any]
"""By an input's name: an array of numpy, or a number, a string or nested lists of them."""

_UINT16: Final = np.dtype("<u2")
_MOST_PRIORITY: Final = 2**32


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input, ready to be written: numbers or text of a type of the protocol."""

    name: str
    datatype: DataType
    array: Array


@dataclass(frozen=True, slots=True)
class Ask:
    """One inference that is asked for."""

    model: str
    inputs: Inputs
    version: str = ""
    outputs: Sequence[str] = ()
    priority: int = 0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    request_id: str = ""

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidInput(f"a model is named by a string that is not empty, got {self.model!r:.60}")
        if not isinstance(self.inputs, Mapping):
            raise InvalidInput(f"inputs are given by name, as a dict; got {type(self.inputs).__name__}")
        if isinstance(self.outputs, str):
            raise InvalidInput(f"outputs are a sequence of names; write [{self.outputs!r}]")
        if not 0 <= self.priority < _MOST_PRIORITY:
            raise InvalidInput(f"priority is from 0 (the model's default) to {_MOST_PRIORITY - 1}, got {self.priority}")
        if self.priority and "priority" in self.parameters:
            raise InvalidInput("priority is given twice: as an argument and as a parameter")

    @property
    def key(self) -> Key:
        """Whose metadata settles the types."""
        return self.model, self.version


def needs_metadata(inputs: Inputs) -> bool:
    """Whether only the model's metadata can say what is sent: lists and scalars, and ``uint16``, which may be BF16."""
    return any(
        not isinstance(value, np.ndarray) or value.dtype.newbyteorder("<") == _UINT16 for value in inputs.values()
    )


def tensors_of(ask: Ask, metadata: ModelMetadata | None) -> list[Tensor]:
    """Return the inputs as they will be written.

    Args:
        ask: what is asked for.
        metadata: the model's; needed where ``needs_metadata``.

    Raises:
        InvalidInput: a value cannot be sent, or the model has no such input.
    """
    return [_tensor(ask, name, value, metadata) for name, value in ask.inputs.items()]


def _tensor(ask: Ask, name: str, value: object, metadata: ModelMetadata | None) -> Tensor:
    spec = metadata.input(name) if metadata is not None else None
    if isinstance(value, np.ndarray):
        datatype = datatype_of(value)
        if datatype is None:
            raise InvalidInput(f"input '{name}' is an array of {value.dtype}, which the protocol has no type for")
        if spec is not None and spec.datatype == "BF16" and datatype.name == "UINT16":
            datatype = TYPES["BF16"]
        return Tensor(name, datatype, value)
    if metadata is None or spec is None:
        takes = ", ".join(map(str, metadata.inputs)) if metadata is not None and metadata.inputs else "no inputs"
        raise InvalidInput(f"model '{ask.model}' has no input '{name}'; it takes {takes}")
    array = to_array(value, spec)
    return Tensor(name, TYPES[spec.datatype], array)


def message_of(ask: Ask, tensors: Sequence[Tensor]) -> ModelInferRequest:
    """Return the request as a message, with raw contents."""
    request = ModelInferRequest(model_name=ask.model, model_version=ask.version, id=ask.request_id)
    for name, value in ask.parameters.items():
        request.parameters[name].CopyFrom(write_parameter(name, value))
    if ask.priority:
        request.parameters["priority"].uint64_param = ask.priority
    for tensor in tensors:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype.name, shape=tensor.array.shape)
        request.raw_input_contents.append(to_raw(tensor.name, tensor.array, tensor.datatype))
    for output in ask.outputs:
        request.outputs.add(name=output)
    return request
