from importlib import import_module
from types import ModuleType

import pytest

from shoal_server.cli import doctor
from shoal_server.cli.doctor import Findings


def test_what_is_installed_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.command() == 0
    out = capsys.readouterr().out
    found = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert {"python", "shoal", "grpcio", "protobuf", "onnxruntime", "numpy", "uvloop", "transports"} <= found.keys()
    assert "CPUExecutionProvider" in found["ORT"]
    assert "grpcio" in found["transports"]
    assert " CPUs" in found["CPU"]


@pytest.mark.parametrize(
    ("module", "code"),
    [("uvloop", 0), ("shoal_native", 0), ("onnxruntime", 1), ("grpc", 1), ("google.protobuf", 1)],
)
def test_a_package_that_cannot_be_imported_is_told_and_only_a_needed_one_is_a_failure(
    module: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> ModuleType:
        if name == module:
            raise ImportError("no such file")
        return import_module(name)

    monkeypatch.setattr(doctor, "import_module", broken)
    assert doctor.command() == code
    out = capsys.readouterr().out
    assert "cannot be imported (no such file)" in out
    assert ("uvloop is not there" in out) == (module == "uvloop")
    assert ("no server can run here" in out) == bool(code)
    assert "nothing here would make a server slow" not in out


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (Findings({"uvloop": "is missing"}), "uvloop is not there"),
        (Findings({"shoal-native": "is missing"}), "servers run on grpcio"),
        (Findings({}, is_debug_build=True), "debug build"),
        (Findings({}, interpreter="PyPy"), "this Python is PyPy"),
        (Findings({}, protobuf_implementation="python"), "protobuf runs in pure Python"),
        (Findings({}, cpus=0.5), "the CPU quota is 0.5"),
    ],
)
def test_what_would_be_slow_is_said_with_the_reason(findings: Findings, words: str) -> None:
    [complaint] = findings.slow()
    assert words in complaint
    assert ": " in complaint


def test_the_transport_that_servers_use_is_named_first() -> None:
    assert Findings({}).transports == ["native", "grpcio"]
    assert Findings({"shoal-native": "is missing"}).transports == ["grpcio"]
    assert Findings({"grpcio": "is missing"}).transports == []


def test_a_good_machine_gets_no_complaint() -> None:
    assert not Findings({}, cpus=1.0).slow()
