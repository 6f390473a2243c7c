from pathlib import Path

import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidProtobuf, RuntimeException

from shoal_server.runtime.failures import execution_failure, load_reason

BUILD = "/onnxruntime_src/onnxruntime/core"


FAIL = "[ONNXRuntimeError] : 1 : FAIL : "
NODE = "Non-zero status code returned while running {} node. Name:'{}' Status Message: "

SAYINGS = {
    "Load model /m/a failed. File gone": (
        "[ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from /m/a b.onnx failed:Load model /m/a failed. File gone"
    ),
    "Unsupported model IR version: 99": (
        f"{FAIL}Load model from o.onnx failed:{BUILD}/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, "
        "const std::list<int(*)()>*, const onnxruntime::ModelOptions&) Unsupported model IR version: 99\n"
    ),
    "Exception during initialization: Failed to construct locale": (
        f"{FAIL}Exception during initialization: {BUILD}/text.cc:235 onnxruntime::Normalizer::Locale::Locale(const "
        "std::string&)::<lambda()> Failed to construct locale"
    ),
    "Too deep": (
        f"{BUILD}/x.cc:9 void onnxruntime::ml::Tree<T>::Compute(onnxruntime::Tensor*, const AGG&) const [with AGG = "
        "onnxruntime::Max<float>; T = float] Too deep"
    ),
    "No": f"{BUILD}/x.h:1 auto onnxruntime::(anonymous namespace)::Get::operator()(int) const No",
    "Deserialize tensor w External initializer: w is short": (
        "Deserialize tensor w failed.tensorprotoutils.cc:2201 GetData External initializer: w is short"
    ),
}

FOLDER = Path("/srv/models/m/1")


def test_a_file_beside_the_model_is_named_without_its_path() -> None:
    error = Fail('External data path does not exist: "/srv/models/m/1/weights.bin"')
    assert load_reason(error, FOLDER) == 'External data path does not exist: "weights.bin"'


@pytest.mark.parametrize("reason", SAYINGS)
def test_what_the_runtime_says_loses_its_frame_and_the_paths_of_its_build(reason: str) -> None:
    assert load_reason(Fail(SAYINGS[reason]), FOLDER) == reason


def test_a_file_that_does_not_parse_is_called_no_model() -> None:
    reason = load_reason(
        InvalidProtobuf("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from x failed:Protobuf"), FOLDER
    )
    assert reason.startswith("it is no ONNX model, or only a part of one")


def test_a_failure_without_words_is_not_named_by_its_class() -> None:
    assert load_reason(RuntimeError(), FOLDER) == "ONNX Runtime does not say why"
    assert str(execution_failure(RuntimeError())) == "ONNX Runtime does not say why"


def test_a_failed_run_names_the_node_and_blames_the_values() -> None:
    failure = execution_failure(
        InvalidArgument(
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : "
            + NODE.format("Gather", "lookup")
            + "indices element out of data bounds, idx=7"
        )
    )
    assert str(failure) == "Gather node 'lookup': indices element out of data bounds, idx=7"
    assert failure.caller_at_fault


def test_a_node_without_a_name_is_named_by_its_operator() -> None:
    failure = execution_failure(
        Fail(FAIL + NODE.format("MatMul", "") + "matmul_helper.h:59 Compute MatMul dimension mismatch")
    )
    assert str(failure) == "MatMul node: MatMul dimension mismatch"
    assert failure.caller_at_fault


def test_advice_to_change_the_model_is_left_out() -> None:
    failure = execution_failure(
        InvalidArgument(
            "Invalid rank for input: x Got: 1 Expected: 2 Please fix either the inputs/outputs or the model."
        )
    )
    assert str(failure) == "Invalid rank for input: x Got: 1 Expected: 2"


@pytest.mark.parametrize(
    "message",
    [NODE.format("Expand", "") + "Failed to allocate memory for 9", NODE.format("Tile", "") + "std::bad_alloc"],
)
def test_a_lack_of_memory_is_not_the_callers_fault(message: str) -> None:
    assert not execution_failure(RuntimeException(message)).caller_at_fault


def test_an_interrupted_run_is_not_the_callers_fault() -> None:
    failure = execution_failure(Fail(NODE.format("Loop", "") + "Exiting due to terminate flag being set to true."))
    assert str(failure) == "the run was interrupted"
    assert not failure.caller_at_fault


def test_a_string_that_is_no_utf_8_is_the_models_fault() -> None:
    failure = execution_failure(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    assert "not valid UTF-8" in str(failure)
    assert not failure.caller_at_fault


def test_an_endless_message_is_cut() -> None:
    assert len(str(execution_failure(Fail("x" * 10_000)))) == 500
