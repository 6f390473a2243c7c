"""Case 26: a load or a warm-up that hangs or raises is given up; others load and serve, and the server can stop."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shoal.admin import admin_pb2 as pb
from shoal_server.runtime import OrtLoader
from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest
from shoal_testing.caller import WITHIN_S, request_of
from shoal_testing.operator import Operator
from shoal_testing.refusals import assert_for_callers, assert_refused
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually

LIMIT_S = 0.3
ONLY_THE_FIRST = 'backend: "onnxruntime"\nversion_policy { specific { versions: [1] } }\n'
ROW = np.zeros((1, 2), np.float32)


class Trouble:
    """What happens in a load of version 2 of ``m``, before it or in its warm-up."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.in_warm_up = False
        self.strike: Callable[[], None] = lambda: None

    def hang(self) -> None:
        self.over.wait(WITHIN_S)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    found = Trouble()
    load = OrtLoader.load

    def troubled(loader: OrtLoader, definition: object, version: int, warming: Callable[[], None]) -> object:
        def told() -> None:
            warming()
            if version == 2 and found.in_warm_up:
                found.strike()

        if version == 2 and not found.in_warm_up:
            found.strike()
        return load(loader, definition, version, told)  # type: ignore[arg-type]

    monkeypatch.setattr(OrtLoader, "load", troubled)
    yield found
    found.over.set()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    for version in (1, 2, 3):
        models.save(tmp_path, "m", plus(version), version)
    (tmp_path / "m" / "config.pbtxt").write_text(ONLY_THE_FIRST)
    with running_server(tmp_path, runtime={"load_threads": 1}, lifecycle={"load_limit_s": LIMIT_S}) as running:
        yield running
        assert_at_rest(running)


@pytest.mark.parametrize(("in_warm_up", "state"), [(False, "loading"), (True, "warming up")])
def test_a_load_that_hangs_is_given_up_and_its_thread_is_replaced(
    trouble: Trouble, served: RunningServer, *, in_warm_up: bool, state: str
) -> None:
    trouble.strike, trouble.in_warm_up = trouble.hang, in_warm_up
    with Operator(served.address) as operator:
        refused = operator.swap("m", 2)
        assert_refused(refused.outcome, "INVALID_ARGUMENT", f"still {state} after 0.3 s and was given up")
        assert operator.states("m")[2] == "FAILED"
        assert operator.infer(request_of("m", x=ROW)).answer.model_version == "1"
        assert operator.swap("m", 3).done.current_version == 3, "on the one thread, which is another now"
        trouble.over.set()
        assert eventually(lambda: served.server.busy, wanted=False) is False
        trouble.strike = lambda: None
        assert operator.swap("m", 2).done.current_version == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "there is not enough memory for it"),
        (ZeroDivisionError("odd"), "an internal error, which the server's log describes"),
        (SystemExit(3), "an internal error, which the server's log describes"),
    ],
    ids=repr,
)
def test_a_load_that_raises_anything_fails_its_version_alone(
    trouble: Trouble, served: RunningServer, caplog: pytest.LogCaptureFixture, error: BaseException, told: str
) -> None:
    def fail() -> None:
        raise error

    trouble.strike = fail
    with Operator(served.address) as operator:
        assert_refused(operator.swap("m", 2).outcome, "INVALID_ARGUMENT", f"version 2 of model 'm': {told}")
        assert_for_callers(operator.models("m")["m"].versions[1].reason)
        assert isinstance(error, MemoryError) or repr(error) in caplog.text
        assert operator.infer(request_of("m", x=ROW)).answer.model_version == "1"
        assert operator.swap("m", 3).done.current_version == 3


def test_a_server_whose_load_hangs_can_stop(tmp_path: Path, trouble: Trouble) -> None:
    for version in (1, 2):
        models.save(tmp_path, "m", plus(version), version)
    (tmp_path / "m" / "config.pbtxt").write_text(ONLY_THE_FIRST)
    trouble.strike = trouble.hang
    with running_server(tmp_path) as running, Operator(running.address) as operator:
        updates = operator.updates(pb.SwapVersionRequest(model="m", version=2))
        assert any(update.step.kind == pb.Step.LOAD for update in updates)
