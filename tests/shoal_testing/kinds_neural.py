"""Neural networks as exporters write them: transformers, convolutions, recurrent ones."""

from itertools import pairwise
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from shoal_testing.kind import Array, Inputs, Kind, floats, weight
from shoal_testing.models import Dims, graph

_VOCABULARY = 50
_WIDTH = 32
_HEADS = 4
_LONGEST = 64


class _Net:
    """Nodes and weights as they come; every method returns the name of what it computes."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - what ONNX has as attributes
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def const(self, array: Array) -> str:
        name = f"w_{len(self.weights)}"
        self.weights[name] = array
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.const(np.array(value, np.float32))

    def dense(self, x: str, wide: int, narrow: int) -> str:
        product = self.op("MatMul", x, self.const(weight(self.random, wide, narrow)))
        return self.op("Add", product, self.const(floats(self.random, narrow)))

    def norm(self, x: str, width: int) -> str:
        scale, bias = self.const(floats(self.random, width)), self.const(floats(self.random, width))
        return self.op("LayerNormalization", x, scale, bias, axis=-1)

    def gelu(self, x: str) -> str:
        inner = self.op("Erf", self.op("Div", x, self.number(np.sqrt(2))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", inner, self.number(1))), self.number(0.5))

    def heads(self, x: str) -> str:
        """[N, L, width] -> [N, heads, L, width / heads]."""
        split = self.op("Reshape", x, self.ints(0, 0, _HEADS, _WIDTH // _HEADS))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def attend(self, x: str, bias: str, past: tuple[str, str] | None = None) -> tuple[str, str, str]:
        """Attention over what ``x`` [N, L, width] and the past say; returns the result, all keys and all values."""
        query, key, value = (self.heads(self.dense(x, _WIDTH, _WIDTH)) for _ in range(3))
        if past is not None:
            key, value = self.op("Concat", past[0], key, axis=2), self.op("Concat", past[1], value, axis=2)
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scaled = self.op("Div", scores, self.number(np.sqrt(_WIDTH // _HEADS)))
        weights = self.op("Softmax", self.op("Add", scaled, bias) if bias else scaled, axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self.op("Reshape", mixed, self.ints(0, 0, _WIDTH))
        return self.dense(joined, _WIDTH, _WIDTH), key, value

    def forward(self, x: str) -> str:
        inner = self.gelu(self.dense(x, _WIDTH, 2 * _WIDTH))
        return self.op("Add", x, self.dense(inner, 2 * _WIDTH, _WIDTH))

    def named(self, x: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [x], [name]))


def _encoder() -> bytes:
    """input_ids, attention_mask, token_type_ids INT64 [N, L] -> last_hidden_state [N, L, width], pooled [N, width]."""
    net = _Net()
    words = net.op("Gather", net.const(floats(net.random, _VOCABULARY, _WIDTH)), "input_ids")
    kinds = net.op("Gather", net.const(floats(net.random, 2, _WIDTH)), "token_type_ids")
    length = net.op("Shape", "input_ids", start=1, end=2)
    positions = net.op("Slice", net.const(floats(net.random, _LONGEST, _WIDTH)), net.ints(0), length, net.ints(0))
    x = net.norm(net.op("Add", net.op("Add", words, kinds), positions), _WIDTH)
    mask = net.op("Cast", net.op("Unsqueeze", "attention_mask", net.ints(1, 2)), to=TensorProto.FLOAT)
    bias = net.op("Mul", net.op("Sub", net.number(1), mask), net.number(-1e4))
    for _ in range(2):
        x = net.norm(net.op("Add", x, net.attend(x, bias)[0]), _WIDTH)
        x = net.norm(net.forward(x), _WIDTH)
    net.named(x, "last_hidden_state")
    first = net.op("Gather", x, net.const(np.array(0)), axis=1)
    net.named(net.op("Tanh", net.dense(first, _WIDTH, _WIDTH)), "pooled")
    ids: Dims = ["batch", "sequence"]
    return graph(
        net.nodes,
        [(name, TensorProto.INT64, ids) for name in ("input_ids", "attention_mask", "token_type_ids")],
        [
            ("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", _WIDTH]),
            ("pooled", TensorProto.FLOAT, ["batch", _WIDTH]),
        ],
        net.weights,
    )


def _sentences(random: np.random.Generator, rows: int) -> Inputs:
    length = int(random.choice([5, 16, 33]))
    mask = (np.arange(length) < random.integers(1, length + 1, (rows, 1))).astype(np.int64)
    return {
        "input_ids": random.integers(0, _VOCABULARY, (rows, length)),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, (rows, length)),
    }


def _decoder() -> bytes:
    """One step of a language model: token INT64 [N, 1], past keys and values -> logits, and these with one more."""
    net = _Net(1)
    x = net.op("Gather", net.const(floats(net.random, _VOCABULARY, _WIDTH)), "token")
    mixed, keys, values = net.attend(net.norm(x, _WIDTH), "", ("past_keys", "past_values"))
    net.named(net.dense(net.forward(net.op("Add", x, mixed)), _WIDTH, _VOCABULARY), "logits")
    net.named(keys, "keys")
    net.named(values, "values")
    past: Dims = ["batch", _HEADS, "past", _WIDTH // _HEADS]
    grown: Dims = ["batch", _HEADS, "past + 1", _WIDTH // _HEADS]
    return graph(
        net.nodes,
        [
            ("token", TensorProto.INT64, ["batch", 1]),
            ("past_keys", TensorProto.FLOAT, past),
            ("past_values", TensorProto.FLOAT, past),
        ],
        [
            ("logits", TensorProto.FLOAT, ["batch", 1, _VOCABULARY]),
            ("keys", TensorProto.FLOAT, grown),
            ("values", TensorProto.FLOAT, grown),
        ],
        net.weights,
    )


def _step(random: np.random.Generator, rows: int) -> Inputs:
    past = int(random.choice([0, 1, 7]))
    return {
        "token": random.integers(0, _VOCABULARY, (rows, 1)),
        "past_keys": floats(random, rows, _HEADS, past, _WIDTH // _HEADS),
        "past_values": floats(random, rows, _HEADS, past, _WIDTH // _HEADS),
    }


def _residual_network(element: int = TensorProto.FLOAT) -> bytes:
    """``image`` [N, 3, 32, 32] -> scores [N, 10]: convolutions, batch normalisation, pooling, a residual."""
    net = _Net()
    kind = helper.tensor_dtype_to_np_dtype(element)

    def const(*shape: int) -> str:
        return net.const(weight(net.random, *shape).astype(kind))

    def convolved(x: str, wide: int, narrow: int, stride: int) -> str:
        attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]}
        c = net.op("Conv", x, const(narrow, wide, 3, 3), const(narrow), **attributes)
        variance = net.const(np.abs(floats(net.random, narrow)).astype(kind) + kind.type(0.5))
        return net.op("BatchNormalization", c, const(narrow), const(narrow), const(narrow), variance)

    x = net.op("Relu", convolved("image", 3, 16, 2))
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Relu", net.op("Add", x, convolved(net.op("Relu", convolved(x, 16, 16, 1)), 16, 16, 1)))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.named(net.op("Softmax", net.op("Gemm", x, const(16, 10), const(10)), axis=1), "scores")
    return graph(net.nodes, [("image", element, ["N", 3, 32, 32])], [("scores", element, ["N", 10])], net.weights)


def _super_resolution() -> bytes:
    """``image`` FP32 [N, 1, H, W] -> larger FP32 [N, 1, 2H, 2W]."""
    net = _Net()
    c = net.op("Conv", "image", net.const(weight(net.random, 4, 1, 3, 3)), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    net.named(net.op("DepthToSpace", c, blocksize=2), "larger")
    return graph(
        net.nodes,
        [("image", TensorProto.FLOAT, ["N", 1, "H", "W"])],
        [("larger", TensorProto.FLOAT, ["N", 1, "H2", "W2"])],
        net.weights,
    )


def _recurrent(operator: str, gates: int, *, batch_first: bool) -> bytes:
    """``x`` FP32 [N, L, 6] or [L, N, 6] -> y FP32 [N, 2 * 8] or [L, N, 2 * 8]: one bidirectional layer."""
    net = _Net()
    x = net.op("Transpose", "x", perm=[1, 0, 2]) if batch_first else "x"
    weights = [net.const(weight(net.random, 2, gates * 8, wide)) for wide in (6, 8)]
    everything, last = (f"{name}_{operator}" for name in ("everything", "last"))
    net.nodes.append(
        helper.make_node(operator, [x, *weights], [everything, last], hidden_size=8, direction="bidirectional")
    )
    if batch_first:
        net.named(net.op("Reshape", net.op("Transpose", last, perm=[1, 0, 2]), net.ints(0, 16)), "y")
        dims: Dims = ["N", "L", 6]
        gives: Dims = ["N", 16]
    else:
        net.named(net.op("Reshape", net.op("Transpose", everything, perm=[0, 2, 1, 3]), net.ints(0, 0, 16)), "y")
        dims, gives = ["L", "N", 6], ["L", "N", 16]
    return graph(net.nodes, [("x", TensorProto.FLOAT, dims)], [("y", TensorProto.FLOAT, gives)], net.weights)


def _two_towers() -> bytes:
    """``user`` FP32 [N, 8], item INT64 [N, 3], price FP32 [N] -> score FP32 [N, 1], similar FP32 [N]."""
    net = _Net()
    user = net.op("Relu", net.dense("user", 8, 16))
    found = net.op("Gather", net.const(floats(net.random, 20, 16)), "item")
    item = net.op("ReduceMean", found, net.ints(1), keepdims=0)
    price = net.op("Unsqueeze", net.op("Log", net.op("Abs", "price")), net.ints(1))
    joined = net.op("Concat", user, item, price, axis=1)
    net.named(net.op("Sigmoid", net.dense(joined, 33, 1)), "score")
    net.named(net.op("ReduceSum", net.op("Mul", user, item), net.ints(1), keepdims=0), "similar")
    return graph(
        net.nodes,
        [
            ("user", TensorProto.FLOAT, ["N", 8]),
            ("item", TensorProto.INT64, ["N", 3]),
            ("price", TensorProto.FLOAT, ["N"]),
        ],
        [("score", TensorProto.FLOAT, ["N", 1]), ("similar", TensorProto.FLOAT, ["N"])],
        net.weights,
    )


def _perceptron(element: int) -> bytes:
    """``x`` [N, 16] -> y [N, 4] in another type of floats than FP32."""
    net = _Net()
    kind = helper.tensor_dtype_to_np_dtype(element)
    name = "x"
    for wide, narrow in pairwise((16, 32, 4)):
        matrix, bias = net.const(weight(net.random, wide, narrow).astype(kind)), net.const(np.ones(narrow, kind))
        name = net.op("Tanh", net.op("Gemm", name, matrix, bias))
    net.named(name, "y")
    return graph(net.nodes, [("x", element, ["N", 16])], [("y", element, ["N", 4])], net.weights)


NEURAL = (
    Kind("transformer_encoder", _encoder, _sentences, batched=True),
    Kind("decoder_with_past", _decoder, _step, batched=True),
    Kind("residual_network", _residual_network, lambda r, n: {"image": floats(r, n, 3, 32, 32)}, batched=True),
    Kind("super_resolution", _super_resolution, lambda r, n: {"image": floats(r, n, 1, 48, 40)}, batched=True),
    Kind(
        "lstm_batch_first",
        lambda: _recurrent("LSTM", 4, batch_first=True),
        lambda r, n: {"x": floats(r, n, 7, 6)},
        batched=True,
        fragile=True,
    ),
    Kind(
        "gru_batch_first",
        lambda: _recurrent("GRU", 3, batch_first=True),
        lambda r, n: {"x": floats(r, n, 7, 6)},
        batched=True,
        fragile=True,
    ),
    Kind(
        "lstm_batch_on_axis_1",
        lambda: _recurrent("LSTM", 4, batch_first=False),
        lambda r, n: {"x": floats(r, 7, n, 6)},
        batched=False,
        fragile=True,
        because="rows do not stay what they are alone",
    ),
    Kind(
        "gru_batch_on_axis_1",
        lambda: _recurrent("GRU", 3, batch_first=False),
        lambda r, n: {"x": floats(r, 7, n, 6)},
        batched=False,
        fragile=True,
        because="rows do not stay what they are alone",
    ),
    Kind(
        "two_towers",
        _two_towers,
        lambda r, n: {
            "user": floats(r, n, 8),
            "item": r.integers(0, 20, (n, 3)),
            "price": np.abs(floats(r, n)) + np.float32(1),
        },
        batched=True,
    ),
    Kind(
        "perceptron_fp16",
        lambda: _perceptron(TensorProto.FLOAT16),
        lambda r, n: {"x": floats(r, n, 16).astype(np.float16)},
        batched=True,
    ),
    Kind(
        "perceptron_fp64",
        lambda: _perceptron(TensorProto.DOUBLE),
        lambda r, n: {"x": r.standard_normal((n, 16))},
        batched=True,
    ),
)
"""Each is as a framework exports it, with random weights."""
