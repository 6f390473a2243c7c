"""The commands, against real servers."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest

from shoal_bench.cli import run
from shoal_bench.result import Run
from shoal_bench.tally import OK
from shoal_bench.target import Target, TargetError
from shoal_server.transport.choice import why_not_native
from shoal_testing.benching import Bench
from shoal_testing.certificates import CALLER, LOCAL, Authority
from shoal_testing.models import mlp, save
from shoal_testing.process import server_process
from shoal_testing.server import running_server

# Each starts processes, which take a second to start, and many where other tests keep the machine busy.
pytestmark = pytest.mark.timeout(60)

QUICK = ["--model", "small", "--processes", "1", "--warm-up-s", "0.2", "--window-s", "0.3", "--limit-s", "0.9"]


def test_a_run_is_recorded_compared_and_drawn(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    long_enough = ["--window-s", "1", "--limit-s", "2"]  # for calls in it though the machine stands still for a while
    measured = ["run", "steady", "--target", address, "--rate", "100", *QUICK, *long_enough, "--record", str(file)]
    assert run(measured) == 0
    out = capsys.readouterr().out
    assert "window 1:" in out
    assert "from the intended send time" in out
    record = json.loads(file.read_text())
    assert record["machine"]["commit"]
    assert record["machine"]["load_average"]
    assert record["machine"]["versions"]["shoal"]
    assert record["options"]["rate"] == 100
    statuses = record["run"]["windows"][0]["statuses"]
    assert set(statuses) == {"OK"}
    assert record["run"]["windows"][0]["server_cpu_s"] is not None, "it listens on this machine"
    assert run(["compare", str(file), str(file)]) == 0
    assert "WORSE" not in capsys.readouterr().out.upper()
    assert run(["plot", str(file), "--out", str(tmp_path / "plots")]) == 0
    assert (tmp_path / "plots" / "latency_percentiles.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in (tmp_path / "plots" / "index.html").read_text()


@pytest.mark.parametrize("load", [["--concurrency", "4"], ["--trace", "trace.txt"]])
def test_closed_loops_and_recorded_traces_are_played(
    load: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.txt").write_text("\n".join(f"{number / 100}" for number in range(120)))
    np.savez(tmp_path / "x.npz", x=np.ones((3, 4), np.float32))
    assert run(["run", "steady", "--target", address, *load, *QUICK, "--input", "x.npz"]) == 0
    out = capsys.readouterr().out
    assert "statuses    OK" in out
    assert ("from the intended send time" in out) == (load[0] == "--trace"), "a closed loop intends no time"


@pytest.mark.parametrize(
    "engine", [pytest.param("native", marks=pytest.mark.skipif(bool(why_not_native()), reason="not built")), "python"]
)
def test_a_server_that_asks_for_certificates_is_measured_by_mtls(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    certificate, key = authority.issue(*LOCAL).write(tmp_path, "server")
    ours = authority.issue(CALLER).write(tmp_path, "client")
    save(tmp_path / "models", "small", mlp((4, 8, 2)))
    tls = {"certificate": certificate, "key": key, "client_ca": tmp_path / "ca.pem"}
    flags = ["--ca", str(tmp_path / "ca.pem"), "--certificate", str(ours[0]), "--key", str(ours[1])]
    with running_server(tmp_path / "models", tls=tls) as server:
        command = ["run", "steady", "--target", server.address, "--rate", "50", "--engine", engine, *QUICK]
        assert run([*command, *flags]) == 0
        shown = capsys.readouterr().out
        assert run(command) == 1, "in plaintext it does not answer"
        assert run([*command, *flags, "--server-name", "other.example"]) == 1, "and the name is looked at"
    assert f"load generator: {engine}" in shown
    assert "statuses    OK" in shown


def test_a_rate_that_no_server_holds_ends_the_search_with_a_failure(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["--first-rate", "1", "--windows", "1", "--p99-ms", "0.001"]
    assert run(["capacity", "steady", "--target", address, *search, *QUICK]) == 1
    assert "no rate holds p99 <= 0.001 ms" in capsys.readouterr().err


def test_versions_are_swapped_under_load_without_a_failed_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "swaps.toml").write_text(
        'summary = ""\nswap_every_s = 0.2\n[load]\nkind = "poisson"\nrate = 50\n[[request]]\nmodel = "tiny"\n'
        "[measure]\nprocesses = 1\nwarm_up_s = 0.2\nwindow_s = 0.5\nlimit_s = 3\nuntil_limit = true\n"
    )
    file = tmp_path / "swaps.json"
    assert run(["run", str(tmp_path / "swaps.toml"), "--record", str(file)]) == 0, capsys.readouterr().err
    record = json.loads(file.read_text())["run"]
    assert len(record["swaps"]) >= 2
    assert not any(swap["error"] for swap in record["swaps"])
    assert all(set(window["statuses"]) == {"OK"} for window in record["windows"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--model", "large"], "does not know model 'large' (NOT_FOUND"),
        (["--model", "large"], "it has small"),
        (["--input", "wrong_shape.json"], "input 'x' of model 'small' takes FP32[-1, 4], got an array of shape [1, 3]"),
        (["--input", "wrong_type.json"], "input 'x' of model 'small' takes FP32[-1, 4], got an array of object"),
        (["--input", "wrong_name.json"], "model 'small' has no input 'y'; it takes x FP32[-1, 4]"),
        (["--input", "gone.json"], "gone.json cannot be read"),
        (["--engine", "gone:Engine"], "the engine gone:Engine cannot be had"),
        (["--pid", "999999999"], "no process has the id 999999999"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(
    changes: list[str], words: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong_shape.json").write_text('{"x": [[1, 2, 3]]}')
    (tmp_path / "wrong_type.json").write_text('{"x": [["a", "b", "c", "d"]]}')
    (tmp_path / "wrong_name.json").write_text('{"y": [[1, 2, 3, 4]]}')
    changes = [str(tmp_path / one) if one.endswith(".json") else one for one in changes]
    assert run(["run", "steady", "--target", address, *QUICK, *changes]) == 1
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_target_that_is_not_there_is_told_apart_from_a_port_of_something_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert run(["run", "steady", "--target", f"127.0.0.1:{port}"]) == 1
    assert f"no server is at 127.0.0.1:{port}" in capsys.readouterr().err
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        address = f"127.0.0.1:{http.server_address[1]}"
        assert run(["run", "steady", "--target", address]) == 1
        said = capsys.readouterr().err
        assert f"what is at {address} does not answer as a gRPC server does" in said
        assert "where it speaks TLS, --ca FILE says whom to trust" in said
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def test_a_port_that_says_nothing_and_a_grpc_server_of_something_else_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Target(address, timeout_s=0.5) as target, pytest.raises(TargetError, match="is the port right"):
            target.check()
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with Target(address) as target, pytest.raises(TargetError, match="not one of the Open Inference Protocol"):
            target.check()
        server.stop(None).wait()


def test_a_server_that_stops_in_mid_run_leaves_a_partial_record(bench: Callable[..., Bench], tmp_path: Path) -> None:
    save(tmp_path, "small", mlp((4, 8, 2)))
    with server_process(tmp_path, folder=tmp_path) as server:
        endless = [*QUICK, "--limit-s", "60", "--until-limit"]
        running = bench("run", "steady", "--rate", "50", "--target", server.ready_address(), *endless)
        running.when_it_says("window 2:", server.process.kill)
        code, errors = running.end()
    assert code == 1
    assert "the server stopped in mid-run: no server is at" in errors
    record = running.recorded()["run"]
    assert (record["partial"], record["ended"]) == (True, "server_gone")
    assert Run.from_json(record).everything().statuses[OK] > 0


def test_ctrl_c_leaves_a_partial_record(bench: Callable[..., Bench], address: str) -> None:
    running = bench("run", "steady", "--rate", "50", "--target", address, *QUICK, "--limit-s", "60", "--until-limit")
    running.when_it_says("window 2:", running.interrupt)
    code, errors = running.end()
    assert (code, errors) == (130, "")
    record = running.recorded()["run"]
    assert (record["partial"], record["ended"]) == (True, "interrupted")
    assert Run.from_json(record).everything().statuses[OK] > 0
