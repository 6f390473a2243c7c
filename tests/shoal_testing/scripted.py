"""A scripted scenario against a server that traces everything, and what it told of it."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.errors import ExecutionFailed
from shoal_testing import models
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.collected import NOWHERE, Collected
from shoal_testing.failing import failing
from shoal_testing.gated import gated
from shoal_testing.http2 import RawHttp2, grpc_message
from shoal_testing.server import RunningServer, running_server

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"

CALLERS_TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
CALLERS_SPAN = 0x00F067AA0BA902B7
SAMPLED = f"00-{CALLERS_TRACE:032x}-{CALLERS_SPAN:016x}-01"
NOT_SAMPLED = f"00-{CALLERS_TRACE:032x}-{CALLERS_SPAN:016x}-00"


@dataclass
class Told:
    """What the server told, and what its callers got."""

    collected: Collected
    statuses: list[str] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)


def pair(*rows: float, request_id: str = "") -> pb.ModelInferRequest:
    request = request_of("pair", x=np.array([[row, row] for row in rows], np.float32))
    request.id = request_id
    return request


def save_models(folder: Path) -> None:
    """Write the models of the scenario into a repository."""
    models.save(folder, "pair", models.identity("FP32", ["N", 2]))
    models.save(folder, "idle", models.identity("FP32", ["N", 2]))


def play(folder: Path) -> Told:
    """Play the scenario; the last push comes when the server stops."""
    story = Told(Collected())
    telemetry = {"otlp_endpoint": NOWHERE, "trace_ratio": 1.0, "metric_interval_s": 3600.0}
    with pytest.MonkeyPatch.context() as patch:
        story.collected.install(patch)
        with (
            running_server(folder, telemetry=telemetry, runtime={"slots": 1}, limits={"max_requests": 4}) as running,
            Caller(running.address) as caller,
        ):
            _answered(caller, story)
            _refused(caller, story)
            _failing(running, caller, story)
            _waiting(running, caller, story)
            _streamed(caller, story)
    return story


def _answered(caller: Caller, story: Told) -> None:
    story.statuses += [
        caller.infer(pair(1, request_id="first")).status,
        caller.infer(pair(1, 2, 3), metadata=[("traceparent", SAMPLED), ("tracestate", "vendor=1")]).status,
        caller.infer(pair(1), metadata=[("traceparent", NOT_SAMPLED)]).status,
        caller.infer(pair(1), metadata=[("traceparent", "00-nonsense")]).status,
        caller.call(b"", LIVE).status,
    ]


def _refused(caller: Caller, story: Told) -> None:
    story.statuses += [
        caller.call(b"\xff\xff").status,
        caller.infer(request_of("nobody", x=np.zeros((1, 2), np.float32))).status,
        caller.infer(request_of("pair", x=np.zeros((1, 3), np.float32))).status,
        caller.call(b"", "/made.up/Method1").status,
        caller.call(b"", "/made.up/Method2").status,
    ]


def _failing(running: RunningServer, caller: Caller, story: Told) -> None:
    with failing(running, "pair", ExecutionFailed("it cannot")):
        story.statuses.append(caller.infer(pair(1)).status)
    with failing(running, "pair", ExecutionFailed("index out of range", caller_at_fault=True)):
        story.statuses.append(caller.infer(pair(1)).status)
    with failing(running, "pair", RuntimeError("a bug")):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = caller.channel.unary_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            method(pair(1).SerializeToString(), timeout=10)
        story.statuses.append(caught.value.code().name)
        trailers = [(item.key, str(item.value)) for item in caught.value.trailing_metadata()]
        story.trailers = {key: value for key, value in trailers if key == "shoal-trace-id"}


def _waiting(running: RunningServer, caller: Caller, story: Told) -> None:
    """One computes and three wait, of whom one expires and one leaves; a fifth is refused, the rest share a batch."""
    with gated(running, "pair") as gate:
        pending = [caller.begin(pair(1).SerializeToString())]
        gate.wait_for_run()
        _expired(running)
        wait_until_held(running, waiting=0)
        leaver = caller.begin(pair(3).SerializeToString())
        wait_until_held(running, waiting=1)
        leaver.cancel()
        wait_until_held(running, waiting=0)
        for count in (1, 2, 3):
            pending.append(caller.begin(pair(4).SerializeToString()))
            wait_until_held(running, waiting=count)
        story.statuses.append(caller.infer(pair(5)).status)
        gate.open()
        story.statuses += [one.outcome().status for one in pending]


def _expired(running: RunningServer) -> None:
    """A call that only the server ends: a client with a deadline of its own would cancel it at the same moment."""
    with RawHttp2(running.address) as connection:
        stream = connection.begin(INFER, ("grpc-timeout", "200m"))
        connection.write(stream, grpc_message(pair(2).SerializeToString()), end=True)
        wait_until_held(running, waiting=1)
        assert connection.status(stream) == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def _streamed(caller: Caller, story: Told) -> None:
    messages = [pair(7), request_of("pair", x=np.zeros((1, 3), np.float32)), pair(8)]
    answers, outcome = caller.exchange([message.SerializeToString() for message in messages], STREAM)
    story.statuses += [outcome.status, str(len(answers))]
