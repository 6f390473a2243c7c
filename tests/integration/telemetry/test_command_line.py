"""Telemetry as an operator meets it: settings and their origins, lines of the log, a port that is taken."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shoal_testing.caller import Caller
from shoal_testing.process import server_process
from shoal_testing.scripted import pair


def shoal(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "shoal_server", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_configuration_names_the_variable_of_opentelemetry_that_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    done = shoal("config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 'otlp_endpoint = "http://c:4317"  # OTEL_EXPORTER_OTLP_ENDPOINT' in lines
    assert "trace_ratio = 1.0  # OTEL_TRACES_SAMPLER" in lines


def test_a_port_for_prometheus_that_is_taken_ends_the_start_and_names_its_flag(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = shoal("serve", str(folder), "--address", "127.0.0.1:0", "--telemetry-prometheus", address, cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot serve metrics on {address}: Address already in use" in done.stderr
    assert "--telemetry-prometheus HOST:PORT" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_each_line_of_the_log_is_an_object_where_json_is_asked_for(folder: Path, tmp_path: Path, level: str) -> None:
    arguments = ("--telemetry-log-format", "json", "--log-level", level)
    with server_process(folder, *arguments, folder=tmp_path) as server:
        server.ready_address()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        lines = [json.loads(line) for line in server.errors]
    ready = [(line["model"], line["version"]) for line in lines if line["message"].endswith("is ready")]
    assert sorted(ready) == [("idle", 1), ("pair", 1)]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_a_variable_that_opentelemetry_cannot_use_is_told_of_and_the_server_serves(
    folder: Path, tmp_path: Path
) -> None:
    arguments = ("--telemetry-otlp-endpoint", "http://127.0.0.1:1", "--telemetry-trace-ratio", "1")
    variables = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}  # it is read where the library is imported
    with server_process(folder, *arguments, folder=tmp_path, variables=variables) as server:
        with Caller(server.ready_address()) as caller:
            assert caller.infer(pair(1)).status == "OK"
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
    [line] = [line for line in server.errors if " ERROR " in line]
    assert "nothing is pushed" in line
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer" in line
