"""A convolutional network of ResNet-18's layers, sizes and cost, with random weights."""

from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

NAME: Final = "cnn"
PIXELS: Final = 224
CHANNELS: Final = 3
CLASSES: Final = 1000

_STAGES: Final = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels of two blocks each, and the stride of the first


class _Network:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(0)
        self._numbers = count()

    def convolution(self, source: str, channels_in: int, channels: int, kernel: int, stride: int) -> str:
        """Add one, with a bias, as exporters write it once the normalisation is folded in; return its output."""
        shape = (channels, channels_in, kernel, kernel)
        scale = np.float32(np.sqrt(2 / (channels_in * kernel * kernel)))
        weights = self._weight(self._random.standard_normal(shape, np.float32) * scale)
        bias = self._weight(np.zeros(channels, np.float32))
        before = kernel // 2
        return self.add("Conv", source, weights, bias, strides=[stride] * 2, pads=[before] * 4)

    def linear(self, source: str, features: int, classes: int) -> str:
        """Add a fully connected layer; return its output."""
        matrix = self._random.standard_normal((features, classes), np.float32) * np.float32(np.sqrt(1 / features))
        return self.add("Gemm", source, self._weight(matrix), self._weight(np.zeros(classes, np.float32)))

    def add(self, kind: str, *sources: str, **attributes: Any) -> str:  # noqa: ANN401 - as the operator has them
        """Add a node of one output; return that."""
        name = f"v{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, sources, [name], **attributes))
        return name

    def _weight(self, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
        name = f"w{next(self._numbers)}"
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True))
        return name


def _stage(network: _Network, source: str, channels_in: int, channels: int, stride: int) -> str:
    for first_stride, inner in ((stride, channels_in), (1, channels)):
        hidden = network.add("Relu", network.convolution(source, inner, channels, 3, first_stride))
        residual = network.convolution(hidden, channels, channels, 3, 1)
        if inner != channels:
            source = network.convolution(source, inner, channels, 1, first_stride)
        source = network.add("Relu", network.add("Add", residual, source))
    return source


def save_network(path: Path) -> None:
    """Write the model: 11.7 million parameters, 1.8 billion multiplications for one picture."""
    network = _Network()
    value = network.add("Relu", network.convolution("pictures", CHANNELS, _STAGES[0][0], 7, 2))
    value = network.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = _STAGES[0][0]
    for wider, stride in _STAGES:
        value = _stage(network, value, channels, wider, stride)
        channels = wider
    pooled = network.add("Flatten", network.add("GlobalAveragePool", value))
    output = network.linear(pooled, channels, CLASSES)
    network.nodes[-1].output[0] = "scores"
    assert output, "the last node's output has the model's name for it"
    graph = helper.make_graph(
        network.nodes,
        NAME,
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["rows", CHANNELS, PIXELS, PIXELS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", CLASSES])],
        network.weights,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
