"""Swaps over the wire: what is told, what answers, and what a rollback brings back."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from shoal.admin import admin_pb2 as pb
from shoal.inference import grpc_service_pb2 as pb_inference
from shoal_testing import models
from shoal_testing.caller import request_of
from shoal_testing.operator import Operator
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually, first_column, rows

LOADED = ["DESCRIBE", "LOAD", "WARM_UP", "RECORD", "PUBLISH"]
RETIRED = ["DRAIN", "UNLOAD"]


def answer(caller: Operator, version: str = "") -> tuple[int, float]:
    """Return which version answered, and what it added."""
    request = request_of("m", x=np.zeros((1, 2), np.float32))
    request.model_version = version
    outcome = caller.infer(request)
    return int(outcome.answer.model_version), float(outcome.array()[0, 0])


def test_a_swap_tells_each_step_and_the_old_version_stays_warm(operator: Operator, folder: Path) -> None:
    assert answer(operator) == (1, 1.0)
    told = operator.swap("m", 2)
    assert told.begun == told.ended == LOADED
    result = told.done
    assert (result.previous_version, result.current_version, result.changed, result.recorded) == (1, 2, True, True)
    assert [pb.Step.Kind.Name(step.kind) for step in result.steps] == LOADED
    assert sum(step.seconds for step in result.steps) <= result.seconds
    content = (folder / "m" / "2" / "model.onnx").read_bytes()
    [file] = result.files
    assert (file.name, file.size_bytes) == ("model.onnx", len(content))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert 0 < result.memory.before_bytes <= result.memory.peak_bytes
    assert result.memory.after_bytes > 0
    assert answer(operator) == (2, 2.0)
    assert answer(operator, "previous") == answer(operator, "1") == (1, 1.0)
    model = operator.models()["m"]
    assert (model.current_version, dict(model.labels)) == (2, {"stable": 2, "previous": 1})
    [old, new] = [version for version in model.versions if version.version in {1, 2}]
    assert old.kept_warm_until == pytest.approx(result.kept_warm_until)
    assert (new.kept_warm_until, new.digest) == (0.0, file.sha256)


def test_a_swap_that_keeps_nothing_warm_ends_when_the_old_version_is_unloaded(operator: Operator) -> None:
    told = operator.swap("m", 2, keep_warm_s=0.0)
    assert told.ended == LOADED + RETIRED
    assert told.done.kept_warm_until == 0
    assert operator.states("m") == {1: "UNLOADED", 2: "READY"}
    assert_refused(operator.infer(versioned("1")), "UNAVAILABLE", "version 1 of model 'm' is unloaded")


def test_what_a_swap_replaced_leaves_when_its_time_is_over(operator: Operator) -> None:
    assert operator.swap("m", 2, keep_warm_s=0.05).done.changed
    assert eventually(lambda: operator.states("m"), {1: "UNLOADED", 2: "READY"}) == {1: "UNLOADED", 2: "READY"}


def test_a_second_swap_takes_the_place_of_what_is_kept_warm(operator: Operator) -> None:
    operator.swap("m", 2)
    operator.swap("m", 3)
    wanted = {1: "UNLOADED", 2: "READY", 3: "READY"}
    assert eventually(lambda: operator.states("m"), wanted) == wanted
    assert answer(operator, "previous") == (2, 2.0)


def test_a_rollback_is_at_once_while_the_old_version_is_warm(operator: Operator) -> None:
    operator.swap("m", 2)
    told = operator.roll_back("m")
    assert told.ended == ["RECORD", "PUBLISH", *RETIRED]
    assert (told.done.previous_version, told.done.current_version) == (2, 1)
    assert answer(operator) == (1, 1.0)
    assert operator.states("m") == {1: "READY", 2: "UNLOADED"}
    assert_refused(operator.roll_back("m").outcome, "FAILED_PRECONDITION", "no swap of model 'm' is left")


def test_a_rollback_loads_the_old_version_again_that_is_no_longer_warm(operator: Operator) -> None:
    operator.swap("m", 2, keep_warm_s=0.0)
    told = operator.roll_back("m")
    assert told.ended == LOADED + RETIRED
    assert answer(operator) == (1, 1.0)


def test_a_version_loaded_beside_is_called_by_number_or_label_only(operator: Operator) -> None:
    told = operator.load("m", 3)
    assert told.ended == LOADED
    assert (told.done.previous_version, told.done.current_version, told.done.changed) == (1, 1, True)
    assert operator.load("m", 3).done.changed is False
    assert answer(operator) == (1, 1.0)
    response, outcome = operator.label("m", "canary", 3)
    assert (outcome.status, response.previous_version, response.changed, response.recorded) == ("OK", 0, True, True)
    assert answer(operator, "canary") == answer(operator, "3") == (3, 3.0)
    assert operator.swap("m", 3).ended == ["DESCRIBE", "RECORD", "PUBLISH"], "it is loaded already"
    assert answer(operator) == (3, 3.0)


def test_a_label_is_a_version_to_a_stock_client(operator: Operator, served: RunningServer) -> None:
    operator.swap("m", 2)
    operator.label("m", "blue", 1)
    with InferenceServerClient(served.address) as client:
        for label, version in (("stable", 2), ("previous", 1), ("blue", 1)):
            result = client.infer("m", [rows(0)], model_version=label)
            assert (result.get_response().model_version, first_column(result)) == (str(version), [float(version)])
            assert client.is_model_ready("m", label)
            assert client.get_model_metadata("m", label).versions == [str(version)]
            config = client.get_model_config("m", label).config
            assert len(config.parameters["shoal.digest"].string_value) == 64
        assert not client.is_model_ready("m", "green")
    refused = operator.infer(versioned("green"))
    assert_refused(refused, "NOT_FOUND", "the labels ['blue', 'previous', 'stable']")


@pytest.mark.parametrize(
    ("label", "version", "status", "text"),
    [
        ("stable", 1, "INVALID_ARGUMENT", "follows the swaps"),
        ("previous", 0, "INVALID_ARGUMENT", "follows the swaps"),
        ("7up", 1, "INVALID_ARGUMENT", "begins with a letter"),
        ("x" * 64, 1, "INVALID_ARGUMENT", "at most 63 characters"),
        ("é", 1, "INVALID_ARGUMENT", "letters, digits"),
        ("blue", -1, "INVALID_ARGUMENT", "above 0"),
        ("blue", 9, "NOT_FOUND", "no version 9"),
    ],
)
def test_a_label_that_cannot_be_is_refused(
    operator: Operator, label: str, version: int, status: str, text: str
) -> None:
    assert_refused(operator.label("m", label, version)[1], status, text)


def test_a_version_that_answers_is_unloaded_by_force_only(operator: Operator) -> None:
    assert_refused(operator.unload("m", 1).outcome, "FAILED_PRECONDITION", "version 1 of model 'm' answers")
    told = operator.unload("m", 1, force=True)
    assert told.ended == ["RECORD", "PUBLISH", *RETIRED]
    assert (told.done.previous_version, told.done.current_version) == (1, 0)
    assert_refused(operator.infer(versioned("")), "UNAVAILABLE", "no ready version: version 1 is unloaded")
    assert operator.swap("m", 2).done.current_version == 2


def test_a_dry_run_loads_and_drops(operator: Operator) -> None:
    told = operator.swap("m", 2, pb.Change(dry_run=True))
    assert told.ended == ["DESCRIBE", "LOAD", "WARM_UP"]
    assert (told.done.changed, told.done.current_version, len(told.done.files)) == (False, 1, 1)
    assert operator.states("m") == {1: "READY"}
    assert answer(operator) == (1, 1.0)


def test_the_version_that_is_expected_must_answer(operator: Operator) -> None:
    refused = operator.swap("m", 2, pb.Change(expected_current_version=3))
    assert_refused(refused.outcome, "FAILED_PRECONDITION", "version 3 of model 'm' is expected to answer, version 1")
    assert not refused.begun
    assert operator.swap("m", 2, pb.Change(expected_current_version=1)).done.changed


def test_the_same_request_under_the_same_key_is_done_once(operator: Operator) -> None:
    change = pb.Change(idempotency_key="k")
    first = operator.swap("m", 2, change)
    operator.swap("m", 3)
    again = operator.swap("m", 2, change)
    assert again.result == first.done
    assert again.ended == LOADED
    assert answer(operator) == (3, 3.0)
    assert_refused(operator.swap("m", 1, change).outcome, "INVALID_ARGUMENT", "'k' was used for another request")


def test_a_failure_is_remembered_under_its_key(operator: Operator, folder: Path) -> None:
    change = pb.Change(idempotency_key="k")
    first = operator.swap("m", 4, change)
    assert_refused(first.outcome, "NOT_FOUND", "no version 4")
    models.save(folder, "m", plus(4), 4)
    assert operator.swap("m", 4, change).outcome == first.outcome
    assert operator.swap("m", 4).done.current_version == 4


def test_a_swap_to_the_version_that_answers_changes_nothing(operator: Operator, folder: Path) -> None:
    told = operator.swap("m", 1)
    assert (told.done.changed, told.done.current_version, told.begun) == (False, 1, [])
    models.save(folder, "m", plus(7), 1)
    assert "its files have changed" in operator.swap("m", 1).done.remarks[0]


@pytest.mark.parametrize(
    ("spoil", "status", "text"),
    [
        (None, "NOT_FOUND", "no version 4; it has [1, 2, 3]"),
        (plus(4)[:50], "INVALID_ARGUMENT", "is cut off"),
        (b"nonsense, and not little of it", "INVALID_ARGUMENT", "it is no ONNX model"),
        (models.identity("FP32", ["N", 3]), "FAILED_PRECONDITION", "input 'x' takes [-1, 3]"),
        (models.two_inputs_two_outputs(), "FAILED_PRECONDITION", "input 'x' is gone"),
    ],
    ids=["missing", "truncated", "nonsense", "narrower", "other inputs"],
)
def test_a_version_that_cannot_take_over_is_refused_and_the_old_one_serves_on(
    operator: Operator, folder: Path, spoil: bytes | None, status: str, text: str
) -> None:
    if spoil is not None:
        models.save(folder, "m", spoil, 4)
    assert_refused(operator.swap("m", 4).outcome, status, text)
    assert answer(operator) == (1, 1.0)
    assert operator.states("m").get(4, "FAILED") == "FAILED"
    assert operator.models()["m"].operation == ""
    models.save(folder, "m", plus(4), 4)
    assert operator.swap("m", 4).done.current_version == 4


def test_a_changed_signature_passes_where_it_is_allowed(operator: Operator, folder: Path) -> None:
    models.save(folder, "m", models.identity("FP32", ["N", 3]), 4)
    assert operator.swap("m", 4, allow_signature_change=True).done.current_version == 4


@pytest.mark.parametrize(
    "request_",
    [
        pb.SwapVersionRequest(model="", version=1),
        pb.SwapVersionRequest(model="m"),
        pb.SwapVersionRequest(model="m", version=-1),
        pb.SwapVersionRequest(model="m", version=2, keep_warm_s=float("nan")),
        pb.SwapVersionRequest(model="m", version=2, keep_warm_s=-1),
        pb.SwapVersionRequest(model="m", version=2, keep_warm_s=1e9),
        pb.SwapVersionRequest(model="m", version=2, change=pb.Change(idempotency_key="k" * 129)),
        pb.RollbackRequest(model="m", change=pb.Change(expected_current_version=-1)),
        pb.LoadVersionRequest(model="m"),
        pb.UnloadVersionRequest(model="m"),
    ],
    ids=["no model", "no version", "below 0", "nan", "past", "too long", "long key", "expected", "load 0", "unload 0"],
)
def test_a_request_that_makes_no_sense_is_refused(operator: Operator, request_: pb.SwapVersionRequest) -> None:
    assert_refused(operator.operate(request_).outcome, "INVALID_ARGUMENT")


@pytest.mark.parametrize("kind", [pb.SwapVersionRequest, pb.LoadVersionRequest, pb.UnloadVersionRequest])
def test_an_unknown_model_is_not_found(operator: Operator, kind: type[pb.SwapVersionRequest]) -> None:
    assert_refused(operator.operate(kind(model="nobody", version=1)).outcome, "NOT_FOUND", "unknown model 'nobody'")


def versioned(version: str) -> pb_inference.ModelInferRequest:
    request = request_of("m", x=np.zeros((1, 2), np.float32))
    request.model_version = version
    return request
