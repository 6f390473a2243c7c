"""`shoal` lives in one process with the packages that declare the same messages, whichever is imported first."""

import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

import shoal

PROTO_ROOT = Path(shoal.__file__).parents[1]

# Each exchanges bytes both ways between our messages and theirs; `infer` gets the module that declares theirs.
EXCHANGE = """
def infer(theirs):
    from shoal.inference import grpc_service_pb2 as ours

    assert theirs.ModelInferRequest is not ours.ModelInferRequest
    request = theirs.ModelInferRequest(model_name="m", raw_input_contents=[bytes(4)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1]).parameters["p"].int64_param = -1
    received = ours.ModelInferRequest.FromString(request.SerializeToString())
    assert received.inputs[0].parameters["p"].int64_param == -1
    assert received.raw_input_contents[0] == bytes(4)
    answer = ours.ModelInferResponse(model_name="m", id="7", raw_output_contents=[b"1234"])
    answer.outputs.add(name="y", datatype="FP32", shape=[1, 1])
    got = theirs.ModelInferResponse.FromString(answer.SerializeToString())
    assert (got.id, got.outputs[0].shape, got.raw_output_contents[0]) == ("7", [1, 1], b"1234")

def triton():
    from tritonclient.grpc import service_pb2
    infer(service_pb2)

def kserve():
    from kserve.protocol.grpc import grpc_predict_v2_pb2
    infer(grpc_predict_v2_pb2)

def health():
    from grpc_health.v1 import health_pb2 as theirs
    from shoal.health import health_pb2 as ours

    answer = ours.HealthCheckResponse(status=ours.HealthCheckResponse.SERVING)
    got = theirs.HealthCheckResponse.FromString(answer.SerializeToString())
    assert got.status == theirs.HealthCheckResponse.SERVING

def reflection():
    from grpc_reflection.v1alpha import reflection_pb2 as theirs
    from shoal.reflection import reflection_pb2 as ours

    question = theirs.ServerReflectionRequest(list_services="*")
    assert ours.ServerReflectionRequest.FromString(question.SerializeToString()).list_services == "*"

def onnx():
    from onnx import ModelProto
    from shoal.onnx import model_pb2 as ours

    model = ModelProto()
    model.graph.node.add(op_type="ZipMap")
    assert ours.ModelProto.FromString(model.SerializeToString()).graph.node[0].op_type == "ZipMap"
"""

OURS = "shoal.methods", "shoal.onnx.model_pb2"
OTHERS = {
    "tritonclient.grpc": "triton",
    "tritonclient.grpc.aio": "triton",
    "kserve.protocol.grpc.grpc_predict_v2_pb2": "kserve",
    "grpc_health.v1.health_pb2": "health",
    "grpc_reflection.v1alpha.reflection_pb2": "reflection",
    "onnx": "onnx",
}


def run_importing(modules: tuple[str, ...], exchanges: tuple[str, ...]) -> None:
    """Import modules in this order in a process of their own, then exchange messages there."""
    lines = [
        f"import sys; sys.path.insert(0, {str(PROTO_ROOT)!r})",
        *(f"import {module}" for module in modules),
        EXCHANGE,
        *(f"{exchange}()" for exchange in exchanges),
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    result = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603 - our own script
    assert result.returncode == 0, f"{modules}\n{result.stderr}"


@pytest.mark.parametrize("other", OTHERS)
def test_messages_cross_when_shoal_is_imported_first(other: str) -> None:
    run_importing((*OURS, other), (OTHERS[other],))


@pytest.mark.parametrize("other", OTHERS)
def test_messages_cross_when_shoal_is_imported_last(other: str) -> None:
    run_importing((other, *OURS), (OTHERS[other],))


@pytest.mark.parametrize(
    "order", [*permutations(("shoal.methods", "tritonclient.grpc", "grpc_health.v1.health_pb2"))], ids="-".join
)
def test_three_live_together_in_every_order(order: tuple[str, ...]) -> None:
    run_importing(order, ("triton", "health"))
