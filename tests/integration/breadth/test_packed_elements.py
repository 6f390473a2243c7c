"""Whole numbers of two and four bits, of which the protocol knows nothing: they travel one to a byte."""

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto, helper

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.bare_ort import BareModel, Refused
from shoal_testing.caller import Caller, request_of
from shoal_testing.kind import Array
from shoal_testing.models import Dims, graph, save
from shoal_testing.server import RunningServer, running_server

_ROWS = 6  # of a full batch, which starts at once
_RANGES = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}
_METADATA = "/inference.GRPCInferenceService/ModelMetadata"


def _dtype(name: str) -> str:
    return "u1" if name.startswith("U") else "i1"


def _model(name: str) -> bytes:
    """``x`` [N, 3] of the type -> wide INT8 or UINT8 [N, 3], again [N, 3] of the type."""
    narrow = TensorProto.DataType.Value(name)
    wide = TensorProto.UINT8 if name.startswith("U") else TensorProto.INT8
    dims: Dims = ["N", 3]
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=wide),
        helper.make_node("Cast", ["wide"], ["again"], to=narrow),
    ]
    return graph(
        nodes,
        [("x", narrow, dims)],
        [("wide", wide, dims), ("again", narrow, dims)],
        opset=25 if name.endswith("2") else 21,
    )


def _is_known(name: str) -> bool:
    """Whether this version of ONNX Runtime has the type at all."""
    try:
        BareModel(_model(name))
    except Refused:
        return False
    return True


_TYPES = [name for name in _RANGES if _is_known(name)]

each_type = pytest.mark.parametrize("name", _TYPES)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("packed")
    for name in _TYPES:
        save(folder, name, _model(name))
    with running_server(folder, batching={"delay_ms": 10_000, "max_rows": _ROWS}) as served:
        yield served


@pytest.fixture
def caller(running: RunningServer) -> Iterator[Caller]:
    with Caller(running.address) as connected:
        yield connected


def _all_values(name: str, rows: int) -> Array:
    """Return rows that begin with every value of the type and go on at random."""
    lowest, highest = _RANGES[name]
    drawn = np.random.default_rng(0).integers(lowest, highest + 1, 3 * rows)
    drawn[: highest - lowest + 1] = np.arange(lowest, highest + 1)
    return drawn.astype(_dtype(name)).reshape(rows, 3)


@each_type
def test_every_value_goes_in_and_comes_out(caller: Caller, name: str) -> None:
    x = _all_values(name, _ROWS)
    outcome = caller.infer(request_of(name, x=x))
    assert [output.datatype for output in outcome.answer.outputs] == ["UINT8" if name[0] == "U" else "INT8"] * 2
    assert outcome.array(_dtype(name)).tolist() == x.tolist()
    assert outcome.array(_dtype(name), 1).tolist() == x.tolist()


@each_type
def test_rows_that_end_within_a_byte_are_told_apart_in_a_batch(caller: Caller, name: str) -> None:
    rows = np.split(_all_values(name, _ROWS), [1, 3])
    pending = [caller.begin(request_of(name, x=part).SerializeToString()) for part in rows]
    for part, call in zip(rows, pending, strict=True):
        outcome = call.outcome()
        assert outcome.array(_dtype(name)).tolist() == part.tolist()
        assert outcome.array(_dtype(name), 1).tolist() == part.tolist()


@each_type
def test_what_does_not_fit_is_refused_and_its_neighbour_in_the_batch_answered(caller: Caller, name: str) -> None:
    lowest, highest = _RANGES[name]
    good = _all_values(name, _ROWS)[: _ROWS // 2]
    bad = good.copy()
    bad[1, 1] = highest + 1
    pending = [caller.begin(request_of(name, x=part).SerializeToString()) for part in (good, bad)]
    answered, refused = (call.outcome() for call in pending)
    assert answered.array(_dtype(name)).tolist() == good.tolist()
    assert refused.status == "INVALID_ARGUMENT"
    assert f"input 'x' has {name[-1]} bits per element: they lie in [{lowest}, {highest}], got" in refused.text


@each_type
def test_a_tensor_of_no_rows_has_no_bytes(caller: Caller, name: str) -> None:
    assert caller.infer(request_of(name, x=np.zeros((0, 3), _dtype(name)))).array(_dtype(name), 1).shape == (0, 3)


@each_type
def test_the_metadata_name_the_type_that_carries_them(caller: Caller, name: str) -> None:
    answer = caller.call(pb.ModelMetadataRequest(name=name).SerializeToString(), _METADATA)
    metadata = pb.ModelMetadataResponse.FromString(answer.message)
    carrier = "UINT8" if name.startswith("U") else "INT8"
    assert [tensor.datatype for tensor in (*metadata.inputs, *metadata.outputs)] == [carrier] * 3
