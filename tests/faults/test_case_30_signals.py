"""Case 30: SIGTERM whenever it comes, and SIGKILL of a client: what is under way finishes, and nothing hangs."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import grpc
import numpy as np
import pytest

from shoal.health import health_pb2
from shoal_testing import models, whole_models
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import INFER, Caller, Pending, request_of
from shoal_testing.gated import gated
from shoal_testing.http2 import DATA, RawHttp2, grpc_message
from shoal_testing.process import ServerProcess, server_process
from shoal_testing.server import RunningServer

WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
ROW = np.array([[1, 2]], np.float32)
MANY_TURNS = 100_000  # some tenths of a second
FOR_EVER = 2**62
PROMPT_S = 5.0  # on a busy machine


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[ServerProcess, str]]:
    models.save(folder / "models", "pair", models.identity("FP32", ["N", 2]))
    models.save(folder / "models", "endless", whole_models.endless())
    with server_process("models", "--log-level", "warning", *flags, folder=folder) as server:
        yield server, server.ready_address()


def turn_for_ever(caller: Caller) -> Pending:
    # Calls that a client has before it is connected go in any order.
    assert caller.infer(request_of("pair", x=ROW)).status == "OK"
    request = request_of("endless", x=ROW, turns=np.array(FOR_EVER, np.int64))
    return caller.begin(request.SerializeToString(), timeout_s=30)


def assert_nothing_was_blamed(server: ServerProcess) -> None:
    """A termination that goes well is no error."""
    assert [line for line in server.errors if "ERROR" in line or "Traceback" in line] == []


def test_sigterm_while_idle_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, address), Caller(address) as caller:
        assert caller.infer(request_of("pair", x=ROW)).status == "OK"
        began_s = monotonic()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        assert monotonic() - began_s < PROMPT_S
        assert caller.infer(request_of("pair", x=ROW), timeout_s=1).status == "UNAVAILABLE"
        assert_nothing_was_blamed(server)


def test_sigterm_under_load_answers_everyone_who_was_inside(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, address), Caller(address) as caller, RawHttp2(address) as connection:
        watch: grpc.UnaryStreamMultiCallable[bytes, bytes] = caller.channel.unary_stream(WATCH)
        states = (health_pb2.HealthCheckResponse.FromString(state).status for state in watch(b"", timeout=30))
        assert next(states) == health_pb2.HealthCheckResponse.SERVING
        long = request_of("endless", x=ROW, turns=np.array(MANY_TURNS, np.int64)).SerializeToString()
        short = request_of("pair", x=ROW).SerializeToString()
        calls = [connection.whole_call(INFER, message) for message in [long] * 8 + [short] * 20]
        connection.send(b"".join(calls) + connection.whole_call(CHECK, b""))
        connection.read_answers([2 * len(calls) + 1])  # what came before on this connection is inside by now
        server.send(signal.SIGTERM)
        assert next(states) == health_pb2.HealthCheckResponse.NOT_SERVING, "not ready comes first"
        assert caller.call(short).status == "UNAVAILABLE", "whoever comes now may go elsewhere"
        connection.read_answers(range(1, 2 * len(calls) + 1, 2))
        assert server.exit_code() == 0
        assert_nothing_was_blamed(server)


def test_what_ends_a_server_and_how_it_ended_is_told(tmp_path: Path) -> None:
    models.save(tmp_path / "models", "pair", models.identity("FP32", ["N", 2]))
    with server_process("models", folder=tmp_path) as server:
        server.ready_address()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        said = [line.partition("INFO shoal: ")[2].strip() for line in server.errors]
    assert said[-3:] == [
        "SIGTERM: stopping",
        "draining, for at most 30 s",
        "stopped: all that was under way was finished",
    ]


def test_sigterm_ends_connections_and_streams_on_which_nothing_happens(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, address):
        connections = [RawHttp2(address) for _ in range(3)]
        connections[1].write(connections[1].begin(STREAM), b"")
        watch = connections[2].begin(WATCH)
        connections[2].write(watch, grpc_message(b""), end=True)
        connections[2].read_until(DATA, watch)
        began_s = monotonic()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        assert monotonic() - began_s < PROMPT_S
        assert_nothing_was_blamed(server)
        for connection in connections:
            connection.close()


def test_sigterm_while_models_load_ends_without_waiting_for_them(tmp_path: Path) -> None:
    models.save(tmp_path / "models", "slow", models.slow(layers=400, width=1500))
    with server_process("models", "--log-level", "debug", folder=tmp_path) as server:
        server.wait_for_error("slow version 1 is loading")
        began_s = monotonic()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        assert monotonic() - began_s < PROMPT_S
        assert_nothing_was_blamed(server)


def test_a_run_that_never_ends_is_left_behind_when_the_grace_is_over(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace-s", "0.5") as (server, address), Caller(address) as caller:
        call = turn_for_ever(caller)
        _wait_until_it_runs(caller)
        began_s = monotonic()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 1, "something was not finished"
        assert 0.5 <= monotonic() - began_s < 0.5 + PROMPT_S
        assert call.outcome().status in ("UNAVAILABLE", "CANCELLED")
        assert any("still under way after 0.5 s" in line for line in server.errors)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(tmp_path: Path, second: signal.Signals) -> None:
    with serving(tmp_path) as (server, address), Caller(address) as caller:
        call = turn_for_ever(caller)
        _wait_until_it_runs(caller)
        server.send(signal.SIGTERM)
        while caller.infer(request_of("pair", x=ROW)).status != "UNAVAILABLE":
            pass  # the first has not arrived yet
        began_s = monotonic()
        server.send(second)
        assert server.exit_code() == 1
        assert monotonic() - began_s < PROMPT_S
        assert call.outcome().status == "UNAVAILABLE"
        assert f"{second.name} while it stops: ended at once, whatever was under way" in server.errors[-1]


def _wait_until_it_runs(caller: Caller) -> None:
    # Of one connection, in order: by the answer to the later call the earlier one is inside.
    assert caller.infer(request_of("pair", x=ROW)).status == "OK"


CLIENT = """
import sys
import grpc
channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary(sys.argv[2])
message = bytes.fromhex(sys.argv[3])
calls = [call.future(message) for _ in range(200)]
print("sent", flush=True)
calls[0].result()
"""


def test_sigkill_of_a_client_takes_its_requests_out_of_the_queue(server: RunningServer, caller: Caller) -> None:
    message = request_of("pair", x=ROW).SerializeToString()
    with gated(server, "pair") as gate:
        first = caller.begin(message)
        gate.wait_for_run()
        arguments = [server.address, INFER, message.hex()]
        with subprocess.Popen([sys.executable, "-c", CLIENT, *arguments], stdout=subprocess.PIPE) as client:  # noqa: S603
            assert client.stdout is not None
            assert client.stdout.readline() == b"sent\n"
            wait_until_held(server, waiting=200)
            client.kill()
        held = wait_until_held(server, waiting=0)
        assert (held.requests, held.leases) == (1, 1)
        gate.open()
        assert first.outcome().status == "OK"
        assert len(gate.runs) == 1
