"""The models of the benchmarks. Their weights are the same each time, their first dimension is a batch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shoal_bench.tiny import NAME, tiny_model

_HEAVY: Final = (2048, 40)
_MEDIUM: Final = (1280, 24)
_CHANNELS: Final = 64
_SIDE: Final = 14
_CONVOLUTIONS: Final = 30
_VOCABULARY: Final = 1000
_EMBEDDING: Final = 64
_IMAGE: Final = (3, 512, 512)
_OPSET: Final = 17
_IR_VERSION: Final = 9


def write_models(folder: Path, names: Sequence[str]) -> None:
    """Write models into a repository folder, as ``NAME/1/model.onnx``.

    Raises:
        KeyError: there is no model of that name.
    """
    for name in names:
        version = folder / name / "1"
        version.mkdir(parents=True)
        onnx.save(MODELS[name](), version / "model.onnx")


def _products(width: int, layers: int) -> onnx.ModelProto:
    """``input`` FP32 [rows, 64] -> output FP32 [rows, width]: so many products with one matrix, width x width.

    Heavy are 40 of 2048, tens of milliseconds for a batch of any size; medium 24 of 1280: on two cores some thousand
    rows a second, so that it is the model, and not the calls or the load generator, that bounds a server.
    """
    random = np.random.default_rng(0)
    weights = {"first": _matrix(random, 64, width), "next": _matrix(random, width, width)}
    names = [*(f"hidden{layer}" for layer in range(layers)), "output"]
    nodes = [helper.make_node("MatMul", ["input", "first"], [names[0]])]
    nodes += [helper.make_node("MatMul", [before, "next"], [after]) for before, after in pairwise(names)]
    return _model(nodes, TensorProto.FLOAT, ["rows", 64], ["rows", width], weights)


def _convolutions() -> onnx.ModelProto:
    """``input`` FP32 [rows, 64] -> output FP32 [rows, 64]: each row makes 64 images of 14 x 14, which are convolved.

    A row takes some 4 ms of one core, alone as in a batch: it is the model, and neither the calls nor the size of the
    batches, that bounds a server.
    """
    random = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[Any]] = {"first": _matrix(random, 64, _SIDE * _SIDE)}
    weights["ones"] = np.ones((_CHANNELS, 1), np.float32)
    weights["spread"] = np.array([-1, 1, _SIDE * _SIDE], np.int64)
    weights["image"] = np.array([-1, _CHANNELS, _SIDE, _SIDE], np.int64)
    scale = np.float32(1.05 / np.sqrt(9 * _CHANNELS))
    kernel: npt.NDArray[np.float32] = random.normal(size=(_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32) * scale
    weights["kernel"] = kernel
    nodes = [
        helper.make_node("MatMul", ["input", "first"], ["drawn"]),
        helper.make_node("Reshape", ["drawn", "spread"], ["row"]),
        helper.make_node("MatMul", ["ones", "row"], ["rows_of_image"]),
        helper.make_node("Reshape", ["rows_of_image", "image"], ["image0"]),
    ]
    nodes += [
        helper.make_node("Conv", [before, "kernel"], [after], pads=[1] * 4, kernel_shape=[3, 3])
        for before, after in pairwise(f"image{number}" for number in range(_CONVOLUTIONS + 1))
    ]
    nodes += [
        helper.make_node("GlobalAveragePool", [f"image{_CONVOLUTIONS}"], ["means"]),
        helper.make_node("Flatten", ["means"], ["output"]),
    ]
    return _model(nodes, TensorProto.FLOAT, ["rows", 64], ["rows", _CHANNELS], weights)


def _text() -> onnx.ModelProto:
    """``input`` INT64 [rows, length] -> output FP32 [rows, 64]: looks ids up, mixes each, takes the mean."""
    random = np.random.default_rng(0)
    weights = {
        "table": _matrix(random, _VOCABULARY, _EMBEDDING),
        "wide": _matrix(random, _EMBEDDING, 4 * _EMBEDDING),
        "narrow": _matrix(random, 4 * _EMBEDDING, _EMBEDDING),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["found"]),
        helper.make_node("MatMul", ["found", "wide"], ["widened"]),
        helper.make_node("Relu", ["widened"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "narrow"], ["mixed"]),
        helper.make_node("ReduceMean", ["mixed"], ["output"], axes=[1], keepdims=0),
    ]
    return _model(nodes, TensorProto.INT64, ["rows", "length"], ["rows", _EMBEDDING], weights)


def _image() -> onnx.ModelProto:
    """``input`` FP32 [rows, 3, 512, 512] -> output FP32 [rows, 3]: the mean of each colour."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["means"]),
        helper.make_node("Flatten", ["means"], ["output"]),
    ]
    return _model(nodes, TensorProto.FLOAT, ["rows", *_IMAGE], ["rows", _IMAGE[0]], {})


MODELS: Final[Mapping[str, Callable[[], onnx.ModelProto]]] = {
    NAME: tiny_model,
    "heavy": partial(_products, *_HEAVY),
    "medium": partial(_products, *_MEDIUM),
    "convolutions": _convolutions,
    "text": _text,
    "image": _image,
}


def _matrix(random: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.float32]:
    matrix: npt.NDArray[np.float32] = (random.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
    return matrix


def _model(
    nodes: Sequence[onnx.NodeProto],
    element: int,
    takes: Sequence[int | str],
    gives: Sequence[int | str],
    weights: Mapping[str, npt.NDArray[Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("input", element, takes)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
