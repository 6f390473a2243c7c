"""Cases 22 and 24, in a swap: what it swaps to cannot be loaded, or goes while it is: the old version answers on."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from shoal_server.runtime import OrtLoader
from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest
from shoal_testing.caller import Caller, request_of
from shoal_testing.operator import Operator, Told
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

ONLY_THE_FIRST = 'backend: "onnxruntime"\nversion_policy { specific { versions: [1] } }\n'
REQUEST = request_of("m", x=np.zeros((1, 2), np.float32))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    for version in (1, 2):
        models.save(tmp_path, "m", plus(version), version)
    (tmp_path / "m" / "config.pbtxt").write_text(ONLY_THE_FIRST)
    with running_server(tmp_path) as running:
        yield running
        assert_at_rest(running)


def answering(caller: Caller) -> str:
    """Return the version that answers, as the answer and its number have it."""
    outcome = caller.infer(REQUEST)
    assert outcome.array()[0, 0] == int(outcome.answer.model_version)
    return outcome.answer.model_version


def test_a_swap_to_a_version_of_an_unknown_opset_is_refused_with_its_number(
    served: RunningServer, tmp_path: Path
) -> None:
    model = onnx.load_model_from_string(plus(2))
    model.opset_import[0].version = 9999
    models.save(tmp_path, "m", model.SerializeToString(), 2)
    with Operator(served.address) as operator:
        told = operator.swap("m", 2)
        assert_refused(told.outcome, "INVALID_ARGUMENT", "version 2 of model 'm'", "model.onnx", "9999")
        assert told.begun == told.ended == ["DESCRIBE", "LOAD"]
        assert operator.states("m") == {1: "READY", 2: "FAILED"}
        assert answering(operator) == "1"
        models.save(tmp_path, "m", plus(2), 2)
        assert operator.swap("m", 2).done.current_version == 2, "once it is mended"


@pytest.mark.parametrize("gone", ["m/2/model.onnx", "m/2", "m", "."])
@pytest.mark.parametrize("in_warm_up", [False, True], ids=["before it is opened", "when it is in memory"])
def test_a_version_that_is_deleted_while_it_loads_is_not_served(
    served: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str, *, in_warm_up: bool
) -> None:
    load = OrtLoader.load

    def troubled(loader: OrtLoader, definition: object, version: int, warming: Callable[[], None]) -> object:
        def told() -> None:
            warming()
            if in_warm_up:
                remove(tmp_path / gone)

        if not in_warm_up:
            remove(tmp_path / gone)
        return load(loader, definition, version, told)  # type: ignore[arg-type]

    monkeypatch.setattr(OrtLoader, "load", troubled)
    with Operator(served.address) as operator:
        refused = operator.swap("m", 2).outcome
        assert_refused(refused, "INVALID_ARGUMENT", "version 2 of model 'm': model.onnx: ")
        words = "it changed while it was being loaded" if in_warm_up else "cannot be read: no such file"
        assert words in refused.text
        assert operator.states("m") == {1: "READY", 2: "FAILED"}
        assert answering(operator) == "1"


def test_of_two_equal_swaps_at_once_without_keys_one_is_done_and_the_other_harms_nothing(
    served: RunningServer,
) -> None:
    def swap(version: int) -> Told:
        with Operator(served.address) as operator:
            return operator.swap("m", version, keep_warm_s=0.0)

    with Operator(served.address) as operator, ThreadPoolExecutor(2) as threads:
        for version in (2, 1, 2, 1, 2):
            both = [*threads.map(swap, [version, version])]
            done = [told for told in both if told.outcome.status == "OK"]
            assert sum(told.done.changed for told in done) == 1, both
            for told in both:
                if told.outcome.status != "OK":
                    assert_refused(
                        told.outcome, "ABORTED", f"swap to version {version} of model 'm' has been under way"
                    )
            assert answering(operator) == str(version)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
