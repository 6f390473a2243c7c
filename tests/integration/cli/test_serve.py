"""`shoal serve` as a process: from the `ready` line to the exit code."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal_client import Client
from shoal_server.cli.failure import INTERRUPTED
from shoal_server.cli.root import run
from shoal_testing import models
from shoal_testing.server import running_server

pytestmark = pytest.mark.timeout(55)  # above conftest's WAIT_S

Shoal = Callable[..., Any]
ANYWHERE = ("--address", "127.0.0.1:0")


def test_one_file_is_served_until_sigterm(shoal: Shoal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "double.onnx").write_bytes(models.vector())
    server = shoal("serve", "double.onnx", *ANYWHERE)
    address = server.ready_address()
    assert run(["health", "--address", address]) == 0
    assert run(["infer", "double", "--input", "[1, 2]", "--address", address, "--json"]) == 0
    assert '"data": [2.0, 4.0]' in capsys.readouterr().out
    server.terminate()
    assert server.exit_code() == 0
    assert run(["health", "--address", address]) == 1
    assert f"no server answers at {address}" in capsys.readouterr().err


def test_the_ready_line_counts_one_model_as_one(tmp_path: Path) -> None:
    models.save(tmp_path, "double", models.vector())
    with running_server(tmp_path) as running:
        assert running.server.summary() == f"{running.address}, serving 1 model version of 1 model"


def test_a_broken_model_is_listed_beside_those_that_serve(
    shoal: Shoal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(tmp_path / "models", "good", models.vector())
    models.save(tmp_path / "models", "bad", b"no model")
    server = shoal("serve", "models", *ANYWHERE)
    address = server.ready_address()
    assert run(["models", "--address", address]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " READY " in lines["good"]
    assert " UNAVAILABLE " in lines["bad"]
    assert lines["bad"].rstrip().rpartition("  ")[2] != "-", "the reason is there"
    assert run(["health", "--model", "good", "--address", address]) == 0
    assert run(["health", "--model", "bad", "--address", address]) == 1


def test_settings_come_from_the_file_the_environment_and_flags(
    shoal: Shoal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(tmp_path / "mine", "double", models.vector())
    (tmp_path / "shoal.toml").write_text('models = "mine"\naddress = "127.0.0.1:1"\nlog_level = "debug"')
    monkeypatch.setenv("SHOAL_ADDRESS", "127.0.0.1:0")
    before = shoal("serve")
    before.ready_address()
    before.terminate()
    assert before.exit_code() == 0
    assert any("settings are read from shoal.toml" in line for line in before.err)
    server = shoal("serve", "--log-level", "error")
    address = server.ready_address()
    monkeypatch.setenv("SHOAL_ADDRESS", address)
    assert run(["health"]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    server.terminate()
    assert server.exit_code() == 0
    assert server.err == [], "the flag has silenced the log"


@pytest.mark.parametrize("transport", ["auto", "grpcio"])
def test_a_unix_socket_is_served_to_our_commands_and_clients(transport: str, shoal: Shoal, tmp_path: Path) -> None:
    models.save(tmp_path / "models", "double", models.vector())
    address = f"unix:{tmp_path / 'shoal.sock'}"
    server = shoal("serve", str(tmp_path / "models"), "--address", address, "--transport", transport)
    assert server.ready_address() == address
    assert run(["health", "--address", address]) == 0
    assert run(["models", "unload", "double", "1", "--force", "--address", address]) == 0, "it is this machine's"
    assert run(["models", "swap", "double", "1", "--address", address]) == 0
    short = ("--rate", "50", "--warm-up-s", "0.1", "--window-s", "0.1", "--limit-s", "0.3")
    assert run(["bench", "run", "steady", "--target", address, "--model", "double", *short]) == 0
    with Client(address) as client:
        assert client.infer("double", {"x": np.ones(2, np.float32)}, version="1")["y"].tolist() == [2, 2]
    server.terminate()
    assert server.exit_code() == 0
    assert not Path(address.removeprefix("unix:")).exists()


def test_a_port_in_use_is_told_with_the_way_out(shoal: Shoal, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(models.vector())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server = shoal("serve", "m.onnx", "--address", address, "--log-level", "error")
        assert server.exit_code() == 1
    [line] = [line for line in server.err if line.startswith("shoal: ")]
    assert line.startswith(f"shoal: cannot listen on {address}: ")
    assert "in use" in line
    assert "--address" in line
    assert not any("Traceback" in line for line in server.err)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serve", "gone.onnx", *ANYWHERE], 1, "gone.onnx does not exist"),
        (["serve", *ANYWHERE], 1, "models does not exist"),
        (
            ["serve", "empty", "--config", "unreadable", *ANYWHERE],
            2,
            "the configuration file unreadable cannot be read",
        ),
        (["serve", "--address", "here"], 2, "--address: address must be HOST:PORT"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_no_traceback(
    shoal: Shoal, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "unreadable").mkdir()
    server = shoal(*arguments, *(["--log-level", "error"] if code == 1 else []))
    assert server.exit_code() == code
    [line] = server.err
    assert line.startswith("shoal: ")
    assert words in line


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (lambda file: file.write_text("{"), "line 1, column 2"),
        (lambda file: file.mkdir(), "is a directory"),
        (os.mkfifo, "it is not a regular file"),
    ],
    ids=["half a file", "a folder", "a pipe"],
)
def test_a_state_file_that_cannot_be_used_is_one_line_that_names_it_and_exit_code_1(
    shoal: Shoal, tmp_path: Path, corrupt: Callable[[Path], object], reason: str
) -> None:
    models.save(tmp_path / "models", "m", models.vector())
    state = tmp_path / "models" / ".shoal" / "desired.json"
    state.parent.mkdir()
    corrupt(state)
    server = shoal("serve", *ANYWHERE, "--log-level", "error")
    assert server.exit_code() == 1
    [line] = server.err
    assert line.startswith("shoal: ")
    for words in (
        str(Path("models", ".shoal", "desired.json")),
        reason,
        "Put a good copy in its place, or take it away",
    ):
        assert words in line


def test_an_empty_folder_is_served_and_says_so(
    shoal: Shoal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    address = shoal("serve", *ANYWHERE).ready_address()
    assert run(["models", "--address", address]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "MODEL  VERSION  STATE  BATCHED  INVARIANT  INFERENCES  MEAN BATCH  INPUTS  OUTPUTS  REASON"
    ]


def test_ctrl_c_while_the_command_itself_is_still_being_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "shoal_server", "serve"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=15, check=False)  # noqa: S603 - ourselves
    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "")
