"""Models that are special in one way: quantised, with branches and loops, of several files, with odd shapes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from shoal_testing import models, whole_models
from shoal_testing.kind import Array, Kind, floats, weight
from shoal_testing.models import Dims, graph, through

_FLOAT = TensorProto.FLOAT
_FREE: Dims = ["N", 3]


def _quantised(*, dynamic: bool) -> bytes:
    """``x`` FP32 [N, 16] -> y FP32 [N, 4], computed in whole numbers with a scale that is fixed or the input's own."""
    random = np.random.default_rng(0)
    weights: dict[str, Array] = {
        "w": random.integers(-100, 100, (16, 4), np.int8),
        "w_scale": np.array(0.01, np.float32),
        "w_zero": np.array(0, np.int8),
        "x_scale": np.array(0.03, np.float32),
        "x_zero": np.array(128, np.uint8),
        "y_scale": np.array(0.1, np.float32),
    }
    if dynamic:
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["product"]),
            helper.make_node("Cast", ["product"], ["float"], to=_FLOAT),
            helper.make_node("Mul", ["scale", "w_scale"], ["both"]),
            helper.make_node("Mul", ["float", "both"], ["y"]),
        ]
    else:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["q"]),
            helper.make_node(
                "QLinearMatMul",
                ["q", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "x_zero"],
                ["product"],
            ),
            helper.make_node("DequantizeLinear", ["product", "y_scale", "x_zero"], ["y"]),
        ]
    return graph(nodes, [("x", _FLOAT, ["N", 16])], [("y", _FLOAT, ["N", 4])], weights)


def _quantised_convolution() -> bytes:
    """``image`` UINT8 [N, 3, 12, 12] -> y UINT8 [N, 4, 10, 10]: a camera's bytes in, bytes out."""
    random = np.random.default_rng(0)
    weights: dict[str, Array] = {
        "w": random.integers(-100, 100, (4, 3, 3, 3), np.int8),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(128, np.uint8),
        "w_zero": np.array(0, np.int8),
        "y_scale": np.array(0.3, np.float32),
    }
    arguments = ["image", "scale", "zero", "w", "scale", "w_zero", "y_scale", "zero"]
    return graph(
        [helper.make_node("QLinearConv", arguments, ["y"])],
        [("image", TensorProto.UINT8, ["N", 3, 12, 12])],
        [("y", TensorProto.UINT8, ["N", 4, 10, 10])],
        weights,
    )


def _quantised_by_tools(path: Path) -> None:
    """A perceptron that ONNX Runtime's own tool has quantised: ``x`` FP32 [N, 64] -> y FP32 [N, 10]."""
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415 - slow to import, and few tests want it

    quantize_dynamic(onnx.load_from_string(models.mlp()), path)


def _values(*tensors: tuple[str, int, Dims]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(*tensor) for tensor in tensors]


def _loop() -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: one step of an iteration done five times."""
    body = helper.make_graph(
        [
            helper.make_node("Sin", ["s_in"], ["turned"]),
            helper.make_node("Add", ["turned", "x"], ["s_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        _values(("i", TensorProto.INT64, []), ("go_in", TensorProto.BOOL, []), ("s_in", _FLOAT, _FREE)),
        _values(("go_out", TensorProto.BOOL, []), ("s_out", _FLOAT, _FREE)),
    )
    return through(
        helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body),
        weights={"turns": np.array(5)},
    )


def scan(axis: int) -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: sums so far along an axis, by Scan."""
    dims: Dims = ["N"] if axis else [3]
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "one"], ["so_far"]), helper.make_node("Identity", ["so_far"], ["out"])],
        "body",
        _values(("sum", _FLOAT, dims), ("one", _FLOAT, dims)),
        _values(("so_far", _FLOAT, dims), ("out", _FLOAT, dims)),
    )
    before: list[NodeProto] = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sums"], keepdims=0),
        helper.make_node("Sub", ["sums", "sums"], ["zeros"]),
    ]
    scan = helper.make_node(
        "Scan",
        ["zeros", "x"],
        ["last", "y"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
    )
    return through(*before, scan, weights={"axis": np.array([axis])})


def _branches_by(*nodes: NodeProto, weights: dict[str, Array] | None = None) -> bytes:
    """``x`` FP32 [N, 3], twice BOOL [] -> y FP32 [N, 3]: a caller's switch, no input of rows."""
    then, otherwise = (
        helper.make_graph([helper.make_node(operator, inputs, [name])], name, [], _values((name, _FLOAT, _FREE)))
        for operator, inputs, name in (("Add", ["x", "x"], "doubled"), ("Neg", ["x"], "negated"))
    )
    return graph(
        [*nodes, helper.make_node("If", ["twice"], ["y"], then_branch=then, else_branch=otherwise)],
        [("x", _FLOAT, _FREE), ("twice", TensorProto.BOOL, [])],
        [("y", _FLOAT, _FREE)],
        weights,
    )


def _through_a_sequence() -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: columns taken apart into a sequence and put together the other way round."""
    return through(
        helper.make_node("SplitToSequence", ["x"], ["columns"], axis=1),
        helper.make_node("SequenceAt", ["columns", "first"], ["a"]),
        helper.make_node("SequenceAt", ["columns", "last"], ["b"]),
        helper.make_node("SequenceErase", ["columns", "first"], ["rest"]),
        helper.make_node("SequenceInsert", ["rest", "a"], ["again"]),
        helper.make_node("ConcatFromSequence", ["again"], ["y"], axis=1),
        weights={"first": np.array(0), "last": np.array(2)},
    )


def _with_a_function() -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3] by a function that the model defines itself."""
    model = onnx.load_from_string(through(helper.make_node("Softplus2", ["x"], ["y"], domain="local")))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(
        helper.make_function(
            "local",
            "Softplus2",
            ["x"],
            ["y"],
            [helper.make_node("Softplus", ["x"], ["once"]), helper.make_node("Softplus", ["once"], ["y"])],
            [helper.make_opsetid("", models.OPSET)],
        )
    )
    return model.SerializeToString(deterministic=True)


def _detector() -> bytes:
    """``boxes`` FP32 [N, 6, 4], scores FP32 [N, 1, 6] -> chosen INT64 [M, 3]: as many as there are."""
    return graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["chosen"])],
        [("boxes", _FLOAT, ["N", 6, 4]), ("scores", _FLOAT, ["N", 1, 6])],
        [("chosen", TensorProto.INT64, ["M", 3])],
        {"most": np.array([3]), "overlap": np.array([0.5], np.float32)},
    )


def _words() -> bytes:
    """``word`` BYTES [N, 2] -> joined BYTES [N], number INT64 [N, 2]: strings in and out."""
    nodes = [
        helper.make_node("Gather", ["word", "first"], ["a"], axis=1),
        helper.make_node("Gather", ["word", "second"], ["b"], axis=1),
        helper.make_node("StringConcat", ["a", "b"], ["joined"]),
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["number"],
            domain="ai.onnx.ml",
            keys_strings=["ja", "nein", "für"],
            values_int64s=[1, 2, 3],
            default_int64=-1,
        ),
    ]
    return graph(
        nodes,
        [("word", TensorProto.STRING, ["N", 2])],
        [("joined", TensorProto.STRING, ["N"]), ("number", TensorProto.INT64, ["N", 2])],
        {"first": np.array(0), "second": np.array(1)},
        opset=20,
    )


def _four_bits() -> bytes:
    """``x`` FP32 [N, 32] -> y FP32 [N, 8] with weights of four bits, as language models have them."""
    random = np.random.default_rng(0)
    model = onnx.load_from_string(
        graph(
            [
                helper.make_node("DequantizeLinear", ["w", "scale"], ["float"], axis=0, block_size=16),
                helper.make_node("MatMul", ["x", "float"], ["y"]),
            ],
            [("x", _FLOAT, ["N", 32])],
            [("y", _FLOAT, ["N", 8])],
            {"scale": np.abs(weight(random, 2, 8))},
            opset=21,
        )
    )
    model.graph.initializer.append(
        helper.make_tensor("w", TensorProto.INT4, [32, 8], random.integers(-8, 8, 256).tolist())
    )
    model.ir_version = 10
    return model.SerializeToString(deterministic=True)


def _both_optional(random: np.random.Generator, rows: int) -> dict[str, Array]:
    given: dict[str, Array] = {"x": floats(random, rows, 2)}
    if random.random() < 0.5:
        given["factor"] = floats(random, 2)
    return given


def _x(random: np.random.Generator, rows: int) -> dict[str, Array]:
    return {"x": floats(random, rows, 3)}


def _boxes(random: np.random.Generator, rows: int) -> dict[str, Array]:
    corners = np.sort(random.random((rows, 6, 2, 2)), axis=2).astype(np.float32)
    return {"boxes": corners.reshape(rows, 6, 4), "scores": random.random((rows, 1, 6)).astype(np.float32)}


_TOGETHER = "rows do not stay what they are alone"

SPECIAL: tuple[Kind, ...] = (
    Kind("quantised", lambda: _quantised(dynamic=False), lambda r, n: {"x": floats(r, n, 16)}, batched=True),
    Kind(
        "quantised_dynamically",
        lambda: _quantised(dynamic=True),
        lambda r, n: {"x": floats(r, n, 16)},
        batched=False,
        because=_TOGETHER,
    ),
    Kind(
        "quantised_by_tools",
        None,
        lambda r, n: {"x": floats(r, n, 64)},
        batched=False,
        because=_TOGETHER,
        save=_quantised_by_tools,
    ),
    Kind(
        "quantised_convolution",
        _quantised_convolution,
        lambda r, n: {"image": r.integers(0, 256, (n, 3, 12, 12), np.uint8)},
        batched=True,
    ),
    Kind("weights_of_four_bits", _four_bits, lambda r, n: {"x": floats(r, n, 32)}, batched=True),
    Kind("external_data", None, lambda r, n: {"x": floats(r, n, 64)}, batched=True, save=models.with_external_data),
    Kind("loop", _loop, _x, batched=True),
    Kind("scan_over_columns", lambda: scan(1), _x, batched=True, fragile=True),
    Kind("scan_over_rows", lambda: scan(0), _x, batched=False, because=_TOGETHER, fragile=True),
    Kind(
        "branches_by_a_switch",
        _branches_by,
        lambda r, n: {**_x(r, n), "twice": np.array(r.random() < 0.5)},
        batched=False,
        because="the number of dimensions of input 'twice' is unknown",
    ),
    Kind(
        "branches_by_the_batch", lambda: whole_models.threshold(0.0, "ReduceMean"), _x, batched=False, because=_TOGETHER
    ),
    Kind("softmax_over_rows", whole_models.softmax_over_batch, _x, batched=False, because=_TOGETHER),
    Kind("through_a_sequence", _through_a_sequence, _x, batched=True),
    Kind("function_of_its_own", _with_a_function, _x, batched=True),
    Kind("detector", _detector, _boxes, batched=False),
    Kind(
        "words",
        _words,
        lambda r, n: {"word": np.array(["ja", "nein", "für", "", "魚"], object)[r.integers(0, 5, (n, 2))]},
        batched=True,
    ),
    Kind("overridable_initializer", models.optional_input, _both_optional, batched=True),
    Kind(
        "scalars",
        whole_models.scalars,
        lambda r, _: {"x": np.array(r.random(), np.float32), "n": np.array(r.integers(9))},
        batched=False,
    ),
    Kind("no_inputs", whole_models.constant, lambda _r, _n: {}, batched=False, because="no input that must be sent"),
    Kind("fixed_rows", whole_models.fixed_batch, lambda r, _: {"x": floats(r, 2, 3)}, batched=False),
    Kind("row_is_a_number", models.vector, lambda r, n: {"x": floats(r, n)}, batched=True),
    Kind(
        "nothing_in_a_row",
        lambda: models.identity("FP32", ["N", "M"]),
        lambda r, n: {"x": floats(r, n, int(r.choice([0, 2])))},
        batched=True,
    ),
)
"""Some of them are of the models that the other tests use as well."""
