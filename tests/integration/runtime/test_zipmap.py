"""Classifiers as skl2onnx exports them: ZipMap's dictionaries come as one tensor, with the names of the classes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from shoal_server.runtime.ort_model import OrtModel
from shoal_server.tensors.datatype import DataType
from shoal_testing import zipmap_models

Load = Callable[..., OrtModel]
PROVIDERS = ["CPUExecutionProvider"]


@pytest.mark.parametrize("labels", [(0, 1, 2), ("größer", "setosa", "versicolor")])
def test_a_classifiers_scores_are_a_tensor_with_labels(load: Load, labels: tuple[int, ...] | tuple[str, ...]) -> None:
    source = zipmap_models.classifier(labels)
    model = load(source)
    label, scores = model.signature.outputs
    assert (label.name, scores.name) == ("output_label", "output_probability")
    assert scores.datatype is DataType.FP32
    assert scores.shape == (-1, 3)
    assert scores.labels == tuple(map(str, labels))
    assert label.datatype is (DataType.BYTES if isinstance(labels[0], str) else DataType.INT64)
    assert model.signature.batched, model.batching_reason

    x = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    chosen, rows = model.run([x], None)
    bare_chosen, bare_rows = ort.InferenceSession(source, providers=PROVIDERS).run(None, {"X": x})
    assert chosen.tolist() == bare_chosen.tolist()
    assert [dict(zip(labels, row, strict=True)) for row in rows.tolist()] == bare_rows


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_zipmaps_keep_their_places(load: Load, monkeypatch: pytest.MonkeyPatch, *, in_memory: bool) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    model = load(zipmap_models.zipmaps())
    assert [(spec.name, spec.labels) for spec in model.signature.outputs] == [
        ("plain", ()),
        ("by_number", ("7", "9")),
        ("by_name", ("no", "yés")),
    ]
    plain, by_number, by_name = model.run([np.array([[1, 2]], np.float32)], None)
    assert plain.tolist() == [[2, 4]]
    assert by_number.tolist() == [[2, 4]]
    assert by_name.tolist() == [[-1, -2]]


def test_weights_beside_the_file_are_still_found(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "1" / "model.onnx"
    path.parent.mkdir()
    model = onnx.load_from_string(zipmap_models.zipmaps())
    weight = onnx.numpy_helper.from_array(np.array([[10.0, 20.0]], np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.node[0].input[1] = "w"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    plain, by_number, _by_name = load(path).run([np.array([[1, 2]], np.float32)], None)
    assert plain.tolist() == by_number.tolist() == [[11, 22]]
