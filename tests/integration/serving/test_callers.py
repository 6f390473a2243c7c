"""Callers told apart on the wire: quotas, shares, priorities, and what a refusal tells a stock client."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer, running_server

ROW = np.array([[1, 2]], np.float32)


@pytest.fixture(scope="module")
def quota(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "pair", models.identity("FP32", ["N", 2]))
    callers = {"by": "metadata", "quotas": ["poor requests_per_s=0.1 burst_s=10", "small rows_per_s=1 burst_s=4"]}
    with running_server(folder, callers=callers) as running:
        yield running


def test_who_has_used_up_his_quota_is_refused_and_others_are_served(quota: RunningServer) -> None:
    request = request_of("pair", x=ROW)
    with Caller(quota.address) as caller:
        assert caller.infer(request, metadata=[("x-caller-id", "poor")]).status == "OK"
        outcome = caller.infer(request, metadata=[("x-caller-id", "poor")])
        assert_refused(outcome, "RESOURCE_EXHAUSTED", "quota of 0.1 requests a second")
        assert caller.infer(request, metadata=[("x-caller-id", "rich")]).status == "OK"
        assert caller.infer(request).status == "OK"


def test_the_trailer_says_when_to_come_back_or_never_to(quota: RunningServer) -> None:
    def pushback_ms(rows: int) -> int:
        message = request_of("pair", x=np.repeat(ROW, rows, axis=0)).SerializeToString()
        with Caller(quota.address) as caller:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = caller.channel.unary_unary(INFER)
            call = method.future(message, metadata=(("x-caller-id", "small"),), timeout=10)
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return int(str(dict(call.trailing_metadata())["grpc-retry-pushback-ms"]))

    with Caller(quota.address) as caller:
        four = request_of("pair", x=np.repeat(ROW, 4, axis=0))
        assert caller.infer(four, metadata=[("x-caller-id", "small")]).status == "OK"
    assert 1 <= pushback_ms(4) <= 6000, "four seconds, more or less by chance"
    assert pushback_ms(5) == -1


def test_a_stream_is_told_in_its_message(quota: RunningServer) -> None:
    message = request_of("pair", x=np.repeat(ROW, 5, axis=0)).SerializeToString()
    path = INFER.replace("ModelInfer", "ModelStreamInfer")
    with Caller(quota.address) as caller:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = caller.channel.stream_stream(path)
        (answer,) = method(iter([message]), metadata=(("x-caller-id", "small"),), timeout=10)
    response = pb.ModelStreamInferResponse.FromString(answer)
    assert "quota" in response.error_message
    assert response.infer_response.parameters["grpc-retry-pushback-ms"].int64_param == -1


@pytest.mark.parametrize(
    "value", [pb.InferParameter(string_param="high"), pb.InferParameter(int64_param=-1)], ids=["text", "negative"]
)
def test_a_priority_that_is_none_is_refused(quota: RunningServer, value: pb.InferParameter) -> None:
    request = request_of("pair", x=ROW)
    request.parameters["priority"].CopyFrom(value)
    with Caller(quota.address) as caller:
        assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'priority'")
