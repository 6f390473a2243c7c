"""Models of many kinds: each answers as ONNX Runtime alone does, and whether it is batched was found out rightly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from onnx import TensorProto, helper

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_testing.bare_ort import BareModel, Fed, Refused
from shoal_testing.built_once import built_once
from shoal_testing.caller import Caller, Outcome, Pending
from shoal_testing.kind import Array, Inputs, Kind
from shoal_testing.kinds_neural import NEURAL
from shoal_testing.kinds_sklearn import SKLEARN
from shoal_testing.kinds_special import SPECIAL
from shoal_testing.on_the_wire import FLOATS, WireTensor, answered, distance, on_the_wire, request_of
from shoal_testing.patience import wait_up_to
from shoal_testing.server import RunningServer, running_server

_LIMIT_S: Final = 120
_CALLERS: Final = 16
_ROUNDS: Final = 4
_WAIT_MS: Final = 5.0  # so that callers who come at once find each other
_KINDS: Final = {kind.name: kind for kind in (*NEURAL, *SKLEARN, *SPECIAL)}
_TOLERANCE: Final = {"FP16": 5e-3}
_FLOAT_TOLERANCE: Final = 1e-5

pytestmark = pytest.mark.timeout(_LIMIT_S)

each_kind = pytest.mark.parametrize("kind", _KINDS.values(), ids=_KINDS)


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and ONNX Runtime alone with each of its models."""

    running: RunningServer
    bare: Mapping[str, BareModel]

    def engine(self, kind: Kind) -> Batcher:
        return self.running.server.manager.catalog.resolve(kind.name, "").serving()

    def wanted(self, kind: Kind, inputs: Inputs) -> dict[str, WireTensor]:
        """Return what ONNX Runtime alone answers."""
        return self.bare[kind.name].run({name: Fed(array, _onnx_type(array)) for name, array in inputs.items()})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Served]:
    wait_up_to(_LIMIT_S)
    folder = built_once(tmp_path_factory, worker_id, "kinds", _build)
    bare = {name: BareModel(_path(folder, name)) for name in _KINDS}
    # One thread, as sums are done in another order with several.
    options = {"intra_op_threads": 1}
    with running_server(folder, ready_s=_LIMIT_S, batching={"delay_ms": _WAIT_MS}, runtime=options) as running:
        yield Served(running, bare)


def _build(folder: Path) -> None:
    for kind in _KINDS.values():
        kind.write(_path(folder, kind.name))


def _path(folder: Path, name: str) -> Path:
    return folder / name / "1" / "model.onnx"


@each_kind
def test_a_model_of_each_kind_answers_a_caller_who_is_alone_exactly_as_onnxruntime_does(
    served: Served, kind: Kind, seed: int
) -> None:
    random = np.random.default_rng(seed)
    with Caller(served.running.address) as caller:
        for rows in (1, 5, 64):
            inputs = kind.draw(random, rows)
            got = answered(_begin(caller, kind, inputs).outcome().answer)
            wanted = served.wanted(kind, inputs)
            assert list(got) == list(wanted)
            assert {name: distance(tensor, got[name]) for name, tensor in wanted.items()} == dict.fromkeys(wanted, 0.0)


@each_kind
def test_a_request_of_no_rows_is_answered_or_refused_as_by_onnxruntime(served: Served, kind: Kind, seed: int) -> None:
    inputs = kind.draw(np.random.default_rng(seed), 0)
    with Caller(served.running.address) as caller:
        outcome = _begin(caller, kind, inputs).outcome()
    try:
        wanted = None if kind.fragile else served.wanted(kind, inputs)
    except Refused:
        wanted = None
    if wanted is None:
        assert outcome.status == "INVALID_ARGUMENT"
    else:
        assert answered(outcome.answer) == wanted


@each_kind
def test_sixteen_callers_at_once_get_from_each_kind_what_each_would_get_alone(
    served: Served, kind: Kind, seed: int
) -> None:
    random = np.random.default_rng(seed)
    callers = [Caller(served.running.address) for _ in range(_CALLERS)]
    try:
        for _ in range(_ROUNDS):
            requests = [kind.draw(random, int(random.integers(1, 6))) for _ in callers]
            pending = [_begin(caller, kind, inputs) for caller, inputs in zip(callers, requests, strict=True)]
            _check(served, kind, requests, [call.outcome() for call in pending])
    finally:
        for caller in callers:
            caller.channel.close()


def test_whether_a_kind_of_model_is_batched_is_found_out_for_the_right_reason(
    served: Served, tell: Callable[[str], None]
) -> None:
    table = [f"{'kind':26} {'batched':8} {'requests':>8} {'runs':>6}  why"]
    wrong = []
    for kind in _KINDS.values():
        engine = served.engine(kind)
        requests, runs = engine.statistics.success.count, engine.statistics.execution_count
        table.append(f"{kind.name:26} {engine.batches!s:8} {requests:8} {runs:6}  {engine.reason}")
        if engine.batches != kind.batched or kind.because not in engine.reason:
            wrong.append(f"{kind.name}: wanted batched {kind.batched} {kind.because!r}, found {engine.reason!r}")
    tell("\n".join(table))
    assert not wrong, "\n".join([*wrong, *table])


def _begin(caller: Caller, kind: Kind, inputs: Inputs) -> Pending:
    return caller.begin(_request(kind, inputs).SerializeToString())


def _request(kind: Kind, inputs: Inputs) -> pb.ModelInferRequest:
    return request_of(kind.name, {name: on_the_wire(array, _onnx_type(array)) for name, array in inputs.items()})


def _check(served: Served, kind: Kind, requests: Sequence[Inputs], outcomes: Sequence[Outcome]) -> None:
    for inputs, outcome in zip(requests, outcomes, strict=True):
        got = answered(outcome.answer)
        for name, tensor in served.wanted(kind, inputs).items():
            allowed = _TOLERANCE.get(tensor.datatype, _FLOAT_TOLERANCE) if tensor.datatype in FLOATS else 0.0
            assert distance(tensor, got[name]) <= allowed, f"output {name}"


def _onnx_type(array: Array) -> int:
    return TensorProto.STRING if array.dtype == object else helper.np_dtype_to_tensor_dtype(array.dtype)
