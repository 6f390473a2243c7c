"""A large model is examined in a process of its own, whose end is never the server's."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest

from shoal_server.clock import MonotonicClock
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor, ModelDefinition
from shoal_server.lifecycle.ports import FileDigest, Tuning
from shoal_server.options import BatchingOptions
from shoal_server.runtime import OrtLoader
from shoal_server.runtime.apart import WORTH_A_PROCESS_BYTES, Apart, NoProcessError, Report, report
from shoal_server.runtime.batch_probe import Finding
from shoal_server.runtime.examination import TRIALS_LIMIT_S, Examined, Examiner, open_declared
from shoal_server.runtime.made_up import Profile, Recipe
from shoal_server.runtime.measured import Measured
from shoal_server.runtime.run_control import Watchdog
from shoal_server.runtime.sizing import Sizing, untried
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import TensorSpec
from shoal_testing import models, whole_models

WIDTH = 1100
LAYERS = 4  # of 4.8 MB
BATCHED = re.compile(r"batched: (one trial|\d trials) with up to \d+ rows gave what the rows give alone")
"""How much is tried in the time for it depends on the machine; the probe's own tests have a clock of their own."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = models.save(tmp_path_factory.mktemp("large"), "m", models.mlp((WIDTH,) * (LAYERS + 1)))
    assert path.stat().st_size > WORTH_A_PROCESS_BYTES
    return path


def ending(how: str) -> Apart:
    """Return what examines in a process that ends like that."""
    return Apart(1.0, [sys.executable, "-I", "-c", f"import os, signal; {how}"])


def test_a_large_model_serves_as_it_was_found_to_be(path: Path) -> None:
    model = OrtLoader(1.0).load(ModelDefinition("m", {1: path}), 1, lambda: None)
    assert BATCHED.fullmatch(model.batching_reason)
    assert model.tuning_reason.startswith("1 x 1 thread")
    assert len(model.timings) > 1
    assert [file.sha256 for file in model.files] == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert model.run([np.ones((3, WIDTH), np.float32)], None)[0].shape == (3, WIDTH)
    model.close()


def test_a_version_with_other_weights_is_run_as_the_one_before_and_one_of_another_graph_is_measured(
    path: Path, tmp_path: Path
) -> None:
    widths = (WIDTH,) * (LAYERS + 1)
    other = models.save(tmp_path, "m", models.mlp(widths, seed=1), 2)
    wider = models.save(tmp_path, "m", models.mlp((*widths, WIDTH)), 3)
    definition = ModelDefinition("m", {1: path, 2: other, 3: wider})
    loader = OrtLoader(1.0)
    loaded = [loader.load(definition, version, lambda: None) for version in (1, 2, 2, 3)]
    first, second, third, fourth = loaded
    assert second.tuning_reason == f"as an earlier version of the same graph: {first.tuning_reason}"
    assert third.tuning_reason == second.tuning_reason
    assert (second.tuning.rows, second.timings) == (first.tuning.rows, first.timings)
    for model in (first, second):
        assert BATCHED.fullmatch(model.batching_reason), "what decides about answers is tried on each"
    assert fourth.tuning_reason.startswith("1 x 1 thread")
    wanted = replace(definition, batching=BatchingOptions(max_rows=8))
    loaded.append(loader.load(wanted, 3, lambda: None))
    assert loaded[-1].tuning_reason.startswith("1 x 1 thread")
    for model in loaded:
        model.close()


@pytest.mark.parametrize(
    ("batched", "threads", "inherited"), [(True, 1, True), (True, 2, True), (False, 1, False)], ids=str
)
def test_what_is_inherited_has_its_threads_and_is_of_a_model_that_is_batched_alike(
    tmp_path: Path, *, batched: bool, threads: int, inherited: bool
) -> None:
    small = models.save(tmp_path, "m", models.mlp())
    definition = ModelDefinition("m", {1: small})
    known = Measured("g", batched, Tuning(1, threads, 16, 64, 0.0, "so"), ((1, 0.5), (2, 0.75)))
    examiner = Examiner(2.0, MonotonicClock(), time.thread_time)
    session = open_declared(definition, small, 1)
    with Watchdog(TRIALS_LIMIT_S).limit() as limit:
        examined, session = examiner.examine(definition, small, session, None, limit, known)
    session.close()
    if inherited:
        assert examined.tuning == replace(known.tuning, reason="as an earlier version of the same graph: so")
        assert examined.timings == known.timings
    else:
        assert examined.tuning.reason.startswith("1 x 1 thread: a batch of")
    assert examined.finding.batched


def test_what_is_wrong_with_it_is_said_as_of_any_other(path: Path) -> None:
    definition = ModelDefinition("m", {1: path}, outputs=(DeclaredTensor("y", DataType.INT64, (WIDTH,)),))
    with pytest.raises(LoadFailed, match="output 'y'"):
        OrtLoader(1.0).load(definition, 1, lambda: None)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "it brought down the process that tried it: segmentation fault"),
        ("os.abort()", "it brought down the process that tried it: aborted"),
    ],
)
def test_a_model_that_crashes_what_tries_it_is_refused(path: Path, how: str, text: str) -> None:
    with pytest.raises(LoadFailed) as failed:
        ending(how).examine(ModelDefinition("m", {1: path}), path, 0)
    assert str(failed.value) == text


@pytest.mark.parametrize(
    ("apart", "text"),
    [
        (ending("os.kill(os.getpid(), signal.SIGKILL)"), "the process was killed, perhaps for its memory"),
        (ending("raise SystemExit(3)"), "the process ended with 3"),
        (Apart(1.0, ["/nowhere/python"]), "no process can be started: No such file or directory"),
    ],
    ids=["killed", "ended", "none"],
)
def test_without_a_process_a_large_model_is_examined_in_the_server(
    path: Path, monkeypatch: pytest.MonkeyPatch, apart: Apart, text: str
) -> None:
    with pytest.raises(NoProcessError, match=text):
        apart.examine(ModelDefinition("m", {1: path}), path, 0)
    loader = OrtLoader(4.0)
    monkeypatch.setattr(loader, "_apart", apart)
    model = loader.load(ModelDefinition("m", {1: path}), 1, lambda: None)
    assert model.signature.batched
    assert model.tuning_reason.endswith(f"; not tried on several threads, as {text}")
    model.close()


class ItsNiceness:
    """Ends the process that takes it for a path, with its niceness."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("__import__('os')._exit(__import__('os').getpriority(0, 0))",)


def test_the_process_is_at_low_priority_when_it_reads_what_to_do() -> None:
    niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    with pytest.raises(NoProcessError, match=f"the process ended with {niceness}"):
        Apart(1.0).examine(ModelDefinition("m", {}), cast("Path", ItsNiceness()), 0)


def test_the_process_ends_when_nobody_listens_any_more(tmp_path: Path) -> None:
    source = onnx.load_from_string(whole_models.endless())
    del source.graph.input[1]
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 << 40), "turns"))
    path = models.save(tmp_path, "endless", source.SerializeToString())
    apart = Apart(1.0)
    with subprocess.Popen(apart.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        assert process.stdin is not None
        process.stdin.write(apart.job(ModelDefinition("m", {1: path}), path, 0))
        process.stdin.close()  # as the end of the server does
        assert process.wait() == 1


def test_a_report_tells_all_that_was_found_out() -> None:
    inputs = [TensorSpec("a", DataType.INT64, ("n", "k", "")), TensorSpec("b", DataType.BYTES, ("n",))]
    recipe = Recipe(inputs, frozenset({"n"}), {"k": 3, (0, 2): 5}, ["x", "y"], frozenset({0}))
    tuning = untried(Sizing(2, 1), "why")
    invariance = InvarianceFinding(invariant=None, reason="thus")
    examined = Examined(Finding(batched=True, reason="so"), tuning, invariance, ((1, 0.5), (2, 0.75)), recipe)
    files = (FileDigest("model.onnx", "00", 7), FileDigest("weights", "01", 8))
    told = Report(json.loads(json.dumps(report(examined, files))))
    again = told.recipe(inputs)
    assert told.examined(recipe) == examined
    assert told.files == files
    assert again is not None
    for mine, its in zip(
        recipe.draw(np.random.default_rng(0), Profile.LARGE, 2),
        again.draw(np.random.default_rng(0), Profile.LARGE, 2),
        strict=True,
    ):
        assert mine is not None
        assert its is not None
        assert np.array_equal(mine, its)
