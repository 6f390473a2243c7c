"""Tiny models that end in ZipMaps, whose outputs are sequences of maps. Deterministic."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from shoal_testing.models import OPSET, graph


def classifier(labels: Sequence[int] | Sequence[str] = (0, 1, 2), *, seed: int = 0) -> bytes:
    """X FP32 [N, 4] -> output_label [N], output_probability (a ZipMap): scikit-learn's, as skl2onnx exports it."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - slow to import, and few tests want it
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above

    random = np.random.default_rng(seed)
    features = random.normal(size=(60, 4)).astype(np.float32)
    classes = np.array([labels[int(index)] for index in random.integers(0, len(labels), 60)])
    model = to_onnx(LogisticRegression(max_iter=200).fit(features, classes), features[:1], target_opset=OPSET)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def zipmaps() -> bytes:
    """``x`` FP32 [N, 2] -> plain FP32 [N, 2], by_number and by_name (ZipMaps of the same tensor and of another)."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["plain"]),
        helper.make_node("Neg", ["x"], ["negative"]),
        helper.make_node("ZipMap", ["plain"], ["by_number"], domain="ai.onnx.ml", classlabels_int64s=[7, 9]),
        helper.make_node("ZipMap", ["negative"], ["by_name"], domain="ai.onnx.ml", classlabels_strings=["no", "yés"]),
    ]
    model = onnx.load_from_string(
        graph(nodes, [("x", TensorProto.FLOAT, ["N", 2])], [("plain", TensorProto.FLOAT, ["N", 2])])
    )
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    for name, key in (("by_number", TensorProto.INT64), ("by_name", TensorProto.STRING)):
        map_type = helper.make_map_type_proto(key, value)
        model.graph.output.append(helper.make_value_info(name, helper.make_sequence_type_proto(map_type)))
    return model.SerializeToString(deterministic=True)
