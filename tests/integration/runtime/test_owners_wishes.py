"""What the owner declares: held against the file, and obeyed."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor, Fill, ModelDefinition, Warmup, WarmupTensor
from shoal_server.lifecycle.ports import RunControl
from shoal_server.options import BatchingMode, BatchingOptions, RuntimeOptions
from shoal_server.runtime import OrtLoader, examination, loader
from shoal_server.runtime.opening import open_session
from shoal_server.runtime.ort_model import OrtModel
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import Watchdog
from shoal_server.runtime.sizing import Sizing
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_testing import models, whole_models

Load = Callable[..., OrtModel]
ALWAYS = BatchingOptions(mode=BatchingMode.ALWAYS)
NEVER = BatchingOptions(mode=BatchingMode.NEVER)


def test_never_means_never(load: Load) -> None:
    model = load(models.mlp(), batching=NEVER)
    assert not model.signature.batched
    assert model.batching_reason == "not batched: its owner does not want it"


def test_always_is_taken_at_its_word(load: Load) -> None:
    model = load(whole_models.softmax_over_batch(), batching=ALWAYS)
    assert model.signature.batched
    assert model.batching_reason == "batched: its owner vouches that rows are independent"


def test_always_does_not_help_a_model_whose_dimensions_forbid_it(load: Load) -> None:
    with pytest.raises(LoadFailed, match="its owner wants it batched, but the first dimension of input 'x' is 2"):
        load(whole_models.fixed_batch(), batching=ALWAYS)


def test_declared_dims_narrow_what_callers_may_send(load: Load) -> None:
    declared = (DeclaredTensor("ids", DataType.INT64, (5,)),)
    model = load(models.gather(), inputs=declared, batching=BatchingOptions(rows_limit=8))
    assert model.signature.inputs[0].shape == (-1, 5)
    assert model.signature.batched


def test_a_rank_that_the_file_does_not_know_may_be_declared(load: Load) -> None:
    source = models.identity("FP32", None)
    assert not load(source).signature.batched
    declared = (DeclaredTensor("x", DataType.FP32, (3,)),)
    model = load(source, inputs=declared, batching=BatchingOptions(rows_limit=8))
    assert model.signature.inputs[0].shape == (-1, 3)
    assert model.signature.batched


def test_a_contradiction_fails_the_load(load: Load) -> None:
    declared = (DeclaredTensor("y", DataType.FP32, (4,)),)
    with pytest.raises(
        LoadFailed,
        match=r"^model.onnx: output 'y' is declared with dims \[4\] after the rows, the model has \[-1, 10\]$",
    ):
        load(models.mlp(), outputs=declared, batching=BatchingOptions(rows_limit=8))


def test_callers_may_see_other_shapes_than_the_model(load: Load) -> None:
    model = load(
        models.vector(),
        inputs=(DeclaredTensor("x", DataType.FP32, (1,), reshape=()),),
        outputs=(DeclaredTensor("y", DataType.FP32, (1, 1), reshape=(), labels=("twice",)),),
        batching=BatchingOptions(rows_limit=8),
    )
    assert model.signature.batched
    assert model.signature.outputs[0].labels == ("twice",)
    (y,) = model.run([np.array([[1], [2]], np.float32)], None)
    assert y.tolist() == [[[2]], [[4]]]


def test_declared_warm_ups_run_before_the_model_is_there(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    run = OrtSession.run

    def recorded(session: OrtSession, inputs: Sequence[Array | None], control: RunControl | None) -> list[Array]:
        assert inputs[0] is not None
        shapes.append(inputs[0].shape)
        return run(session, inputs, control)

    monkeypatch.setattr(OrtSession, "run", recorded)
    warmup = Warmup("w", 33, {"x": WarmupTensor(DataType.FP32, (64,), Fill.RANDOM)}, count=3)
    load(models.mlp(), warmups=(warmup,))
    assert shapes[-3:] == [(33, 64)] * 3


def test_a_warm_up_that_fails_fails_the_load(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_bytes(np.array([99]).tobytes())
    warmup = Warmup("w", 1, {"ids": WarmupTensor(DataType.INT64, (1,), Fill.FILE, file)})
    with pytest.raises(
        LoadFailed, match=r"^model.onnx: warm-up 'w' failed: Gather node 'lookup': indices element out of"
    ):
        load(models.gather(), warmups=(warmup,))


def test_a_model_that_fails_on_made_up_inputs_loads(load: Load) -> None:
    model = load(models.gather(vocabulary=0))
    assert not model.signature.batched
    with pytest.raises(ExecutionFailed):
        model.run([np.array([[0]])], None)


@pytest.mark.parametrize("mode", list(BatchingMode))
def test_a_model_that_computes_for_ever_on_made_up_inputs_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: BatchingMode
) -> None:
    # What is made up never asks for as many turns, so they come with the model.
    source = onnx.load_from_string(whole_models.endless())
    del source.graph.input[1]
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 << 40), "turns"))
    path = models.save(tmp_path, "m", source.SerializeToString())
    monkeypatch.setattr(loader, "Watchdog", lambda _limit_s: Watchdog(0.05))
    model = OrtLoader(1.0).load(ModelDefinition("m", {1: path}, batching=BatchingOptions(mode=mode)), 1, lambda: None)
    assert model.signature.batched is (mode is BatchingMode.ALWAYS)
    if mode is BatchingMode.AUTO:
        assert model.batching_reason == "not batched: it takes too long to find out about"
    model.close()


def test_threads_that_the_owner_wants_are_not_questioned(tmp_path: Path) -> None:
    path = models.save(tmp_path, "m", models.slow(layers=4))
    definition = ModelDefinition("m", {1: path}, runtime=RuntimeOptions(intra_op_threads=3))
    model = OrtLoader(8.0).load(definition, 1, lambda: None)
    assert (model.tuning.slots, model.tuning.intra_op_threads) == (2, 3)
    model.close()


class Stopwatch:
    """A clock of each thread on which every session's run takes what the test says, by its number of threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run_s: dict[int, float]) -> None:
        self._mine = threading.local()
        self.runs = 0
        threads: dict[int, int] = {}
        run = OrtSession.run

        def opened(path: Path, count: int) -> OrtSession:
            session = open_session(path, count)
            threads[id(session._session)] = count  # noqa: SLF001 - the session behind all its descriptions
            return session

        def timed(session: OrtSession, inputs: Sequence[Array | None], control: RunControl | None) -> list[Array]:
            self.runs += 1
            self._mine.now_s = self.monotonic() + run_s[threads[id(session._session)]]  # noqa: SLF001 - as above
            return run(session, inputs, control)

        monkeypatch.setattr(examination, "open_session", opened)
        monkeypatch.setattr(OrtSession, "run", timed)

    def monotonic(self) -> float:
        return getattr(self._mine, "now_s", 0.0)

    def epoch(self) -> float:
        return self.monotonic()


@pytest.mark.parametrize(
    ("run_s", "sizing"),
    [
        ({1: 0.0015, 2: 0.0001, 4: 0.0001}, Sizing(slots=4, intra_op_threads=1)),  # too short to be tried
        ({1: 0.1, 2: 0.1, 4: 0.02}, Sizing(slots=1, intra_op_threads=4)),
        ({1: 0.1, 2: 0.04, 4: 0.09}, Sizing(slots=2, intra_op_threads=2)),
        ({1: 0.1, 2: 0.06, 4: 0.09}, Sizing(slots=4, intra_op_threads=1)),
    ],
)
def test_threads_are_chosen_by_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_s: dict[int, float], sizing: Sizing
) -> None:
    clock = Stopwatch(monkeypatch, run_s)
    path = models.save(tmp_path, "m", models.mlp())
    model = OrtLoader(4.0, clock, clock.monotonic).load(ModelDefinition("m", {1: path}), 1, lambda: None)
    assert (model.tuning.slots, model.tuning.intra_op_threads) == (sizing.slots, sizing.intra_op_threads)
    assert model.run([np.ones((1, 64), np.float32)], None)[0].shape == (1, 10)
    model.close()


def test_what_takes_longer_than_the_budget_is_run_once_to_know_that_and_once_as_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Stopwatch(monkeypatch, {1: 3.0})
    path = models.save(tmp_path, "m", models.mlp())
    definition = ModelDefinition("m", {1: path}, batching=NEVER, runtime=RuntimeOptions(tuning_budget_s=2.0))
    OrtLoader(1.0, clock, clock.monotonic).load(definition, 1, lambda: None).close()
    assert clock.runs == 3, "one more finds out what it runs on"
