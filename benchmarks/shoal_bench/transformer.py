"""A sentence-embedding transformer of MiniLM's size: 6 layers, 384 wide, 12 heads; random weights, normalised mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

NAME: Final = "sentences"
VOCABULARY: Final = 1000
LONGEST: Final = 512
LAYERS: Final = 6
WIDTH: Final = 384
_HEADS: Final = 12
_OPSET: Final = 17
_IR_VERSION: Final = 9
_HIDDEN: Final = -1e9  # added to the attention that padding would get


@dataclass(slots=True)
class _Graph:
    """Nodes and weights so far of a model so ``width`` wide; every method returns the name of what it adds."""

    width: int
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:  # noqa: ANN401 - as make_node has them
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        self.weights[name] = np.asarray(value, dtype)
        return name

    def product(self, value: str, name: str, rows: int, columns: int) -> str:
        matrix = self.random.normal(size=(rows, columns)) / np.sqrt(rows)
        return self.add("MatMul", [value, self.constant(f"{name}.weight", matrix, np.float32)], name)

    def normalised(self, value: str, name: str) -> str:
        return self.add("LayerNormalization", [value, "scale", "shift"], name, axis=-1)


def transformer(layers: int = LAYERS, width: int = WIDTH) -> onnx.ModelProto:
    """``input_ids`` and ``attention_mask`` INT64 [rows, length] -> ``sentence_embedding`` FP32 [rows, width].

    ``width`` is a multiple of 12.
    """
    graph = _Graph(width)
    for name, value in (("axis1", [1]), ("axis2", [2]), ("from0", [0]), ("axes12", [1, 2])):
        graph.constant(name, value, np.int64)
    graph.constant("scale", np.ones(width), np.float32)
    graph.constant("shift", np.zeros(width), np.float32)
    graph.constant("to heads", [0, 0, _HEADS, width // _HEADS], np.int64)
    graph.constant("from heads", [0, 0, width], np.int64)
    graph.constant("of a head", (width // _HEADS) ** -0.5, np.float32)
    hidden = _embedded(graph)
    weights = graph.add("Cast", ["attention_mask"], "weights", to=TensorProto.FLOAT)
    away = graph.add("Sub", [graph.constant("one", 1.0, np.float32), weights], "away")
    away = graph.add("Mul", [away, graph.constant("hidden away", _HIDDEN, np.float32)], "away.all")
    away = graph.add("Unsqueeze", [away, "axes12"], "away.heads")
    for layer in range(layers):
        hidden = _layer(graph, f"{layer}.", hidden, away)
    column = graph.add("Unsqueeze", [weights, "axis2"], "column")
    total = graph.add("ReduceSum", [graph.add("Mul", [hidden, column], "kept"), "axis1"], "total", keepdims=0)
    count = graph.add("ReduceSum", [weights, "axis1"], "count", keepdims=1)
    mean = graph.add("Div", [total, count], "mean")
    norm = graph.add("ReduceL2", [mean], "norm", axes=[1], keepdims=1)
    graph.add("Div", [mean, norm], "sentence_embedding")
    shape = ["rows", "length"]
    made = helper.make_graph(
        graph.nodes,
        NAME,
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["rows", width])],
        [numpy_helper.from_array(array, name) for name, array in graph.weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _embedded(graph: _Graph) -> str:
    words = graph.constant("words", graph.random.normal(size=(VOCABULARY, graph.width)), np.float32)
    places = graph.constant("places", graph.random.normal(0.0, 0.1, size=(LONGEST, graph.width)), np.float32)
    found = graph.add("Gather", [words, "input_ids"], "found")
    sizes = graph.add("Shape", ["input_ids"], "sizes")
    length = graph.add("Gather", [sizes, "axis1"], "length")
    used = graph.add("Slice", [places, "from0", length], "used places")
    return graph.normalised(graph.add("Add", [found, used], "placed"), "embedded")


def _layer(graph: _Graph, layer: str, hidden: str, away: str) -> str:
    heads = {}
    for role, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        split = graph.add(
            "Reshape",
            [graph.product(hidden, f"{layer}{role}", graph.width, graph.width), "to heads"],
            f"{layer}{role}.split",
        )
        heads[role] = graph.add("Transpose", [split], f"{layer}{role}.heads", perm=order)
    scores = graph.add("MatMul", [heads["query"], heads["key"]], f"{layer}scores")
    scores = graph.add("Mul", [scores, "of a head"], f"{layer}scores.scaled")
    attention = graph.add("Softmax", [graph.add("Add", [scores, away], f"{layer}seen")], f"{layer}attention", axis=-1)
    mixed = graph.add("MatMul", [attention, heads["value"]], f"{layer}mixed")
    mixed = graph.add("Transpose", [mixed], f"{layer}mixed.back", perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, "from heads"], f"{layer}mixed.whole")
    mixed = graph.product(mixed, f"{layer}out", graph.width, graph.width)
    middle = graph.normalised(graph.add("Add", [mixed, hidden], f"{layer}attended"), f"{layer}middle")
    wide = graph.add("Relu", [graph.product(middle, f"{layer}wide", graph.width, 4 * graph.width)], f"{layer}wide.relu")
    narrow = graph.product(wide, f"{layer}narrow", 4 * graph.width, graph.width)
    return graph.normalised(graph.add("Add", [narrow, middle], f"{layer}sum"), f"{layer}done")
