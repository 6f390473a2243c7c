"""The operator cases once more, with a first dimension of any size: models that may be batched, or seem to."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from shoal_testing.bare_ort import Fed
from shoal_testing.onnx_cases import OnnxCase, tensor_type


@dataclass(frozen=True, slots=True)
class FreeCase:
    """A model whose inputs have any number of rows, and requests for it, all of different rows of the case's own data.

    The first request is the case's own. Where its inputs have not the same number of rows, it is the only one.
    """

    name: str
    model: bytes
    requests: list[dict[str, Fed]]


def free_cases(case: OnnxCase) -> Iterator[FreeCase]:
    """Yield a case with rows in all of its inputs, and one with rows in the first and all others made constants.

    The first is rarely what anybody would build (a kernel with rows), and so it shows what the server takes for rows.
    """
    model = onnx.load_from_string(case.model)
    if case.beyond or case.random or not model.graph.input:
        return
    if any(value.type.HasField("optional_type") for value in model.graph.input):
        return
    if all(_has_rows(value) for value in model.graph.input):
        yield _freed(f"{case.name}.all", model, case.inputs)
    first, *others = model.graph.input
    if others and _has_rows(first) and all(value.name in case.inputs for value in others):
        constant = onnx.ModelProto()
        constant.CopyFrom(model)
        del constant.graph.input[1:]
        for value in others:
            constant.graph.initializer.append(numpy_helper.from_array(case.inputs[value.name].array, value.name))
        yield _freed(f"{case.name}.first", constant, {first.name: case.inputs[first.name]})


def _has_rows(value: onnx.ValueInfoProto) -> bool:
    return len(tensor_type(value.type).shape.dim) > 0


def _freed(name: str, model: onnx.ModelProto, inputs: dict[str, Fed]) -> FreeCase:
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    for value in freed.graph.input:
        tensor_type(value.type).shape.dim[0].dim_param = "N"
    for value in freed.graph.output:
        tensor_type(value.type).ClearField("shape")  # ONNX Runtime finds out
    requests = [inputs]
    if len({fed.array.shape[0] for fed in inputs.values()}) == 1:
        requests.append({name: Fed(fed.array[::-1], fed.onnx_type) for name, fed in inputs.items()})
        requests.append({name: Fed(fed.array[-1:], fed.onnx_type) for name, fed in inputs.items()})
    contiguous = [
        {name: Fed(np.array(fed.array, order="C"), fed.onnx_type) for name, fed in request.items()}
        for request in requests
    ]
    return FreeCase(name, freed.SerializeToString(), contiguous)
