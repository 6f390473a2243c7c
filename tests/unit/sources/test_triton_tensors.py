from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.sources.settings import Settings
from shoal_server.tensors.datatype import DataType

Read = Callable[[str], Settings]
Refusal = Callable[[str], str]


@pytest.mark.parametrize(
    ("dims", "reshape", "stored"),
    [
        ([3, 224, 224], [1, 3, 224, 224], (1, 3, 224, 224)),
        ([1], [], ()),
        ([2, 4, -1, 6], [8, -1, 1, 6], (8, -1, 1, 6)),
        ([-1, -1], [-1, 1, -1], (-1, 1, -1)),
        ([0, 3], [0], (0,)),
        ([4, 4], [4, 4], None),
    ],
)
def test_a_reshape_to_as_many_elements_is_kept(
    read: Read, dims: list[int], reshape: list[int], stored: tuple[int, ...] | None
) -> None:
    (tensor,) = read(f"input {{ name: 'x' dims: {dims} reshape {{ shape: {reshape} }} }}").inputs
    assert (tensor.dims, tensor.reshape) == (tuple(dims), stored)


@pytest.mark.parametrize(
    ("dims", "reshape"),
    [([3, 2], [5]), ([2], []), ([-1], [2]), ([-1, 2], [2, -1]), ([-1, -1], [-1]), ([2, 4, -1, 6], [8, -1, 6, 2])],
)
def test_a_reshape_to_another_number_of_elements_is_refused(
    refusal: Refusal, dims: list[int], reshape: list[int]
) -> None:
    text = f"output {{ name: 'y' dims: {dims} reshape {{ shape: {reshape} }} }}"
    assert refusal(text) == f"'output[0]' has dims {dims} and reshape {reshape}, wanted as many elements in both"


@pytest.mark.parametrize("datatype", DataType)
def test_every_type_of_the_protocol_can_be_declared(read: Read, datatype: DataType) -> None:
    name = "STRING" if datatype is DataType.BYTES else datatype.value
    assert read(f"input {{ name: 'x' data_type: TYPE_{name} }}").inputs[0].datatype is datatype


def test_labels_that_cannot_be_read_fail_the_model(refusal: Refusal, put: Callable[..., Path], tmp_path: Path) -> None:
    text = "output { name: 'y' label_filename: 'labels.txt' }"
    assert refusal(text) == "m/labels.txt cannot be read: no such file or directory"
    secret = tmp_path / "secret"
    secret.write_text("root")
    (put("m/1/model.onnx").parents[1] / "labels.txt").symlink_to(secret)
    assert refusal(text) == "m/labels.txt leads out of the model repository"
