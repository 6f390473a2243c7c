"""Settings that cannot be used: one line that says where, what and what instead; exit code 2, and nothing is served."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_server.cli.root import run
from shoal_server.transport.choice import why_not_native
from shoal_testing import models
from shoal_testing.certificates import LOCAL, Authority

WRONG_FILES: dict[str, tuple[bytes, list[str]]] = {
    "no TOML": (b"[limits\n", ["shoal.toml", "not valid TOML"]),
    "not UTF-8": (b"\xff\xfe\x00", ["shoal.toml", "not UTF-8"]),
    "an unknown key": (b'modles = "x"\n', ["shoal.toml", "unknown key modles", "did you mean models?"]),
    "an unknown section": (b"[limit]\nmax_rows = 1\n", ["shoal.toml", "limit"]),
    "a key in a section": (b"[limits]\nmax_row = 1\n", ["limits.max_row", "did you mean limits.max_rows?"]),
    "a section as a value": (b"limits = 3\n", ["limits is a section", "got 3"]),
    "a value as a section": (b"[address]\nhost = 'x'\n", ["shoal.toml", "address"]),
    "a wrong type": (b"[limits]\nmax_rows = '1'\n", ["limits.max_rows must be a whole number", "got '1'"]),
    "a truth for a number": (b"[limits]\nmax_rows = true\n", ["limits.max_rows must be a whole number", "got True"]),
    "a number out of range": (b"[limits]\nmax_rows = 0\n", ["limits.max_rows must be", "from 1", "got 0"]),
    "not a number": (b"grace_s = nan\n", ["grace_s must be a number", "got nan"]),
    "endless": (b"grace_s = inf\n", ["grace_s must be a number", "got inf"]),
    "a port beyond the last": (b"address = '127.0.0.1:70000'\n", ["address must be HOST:PORT", "70000"]),
    "an address of control characters": (b'address = "\\u001b[31m:1"\n', ["address must be HOST:PORT"]),
    "no models": (b"models = 3\n", ["models must be a path", "got 3"]),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.save(tmp_path / "models", "pair", models.identity())
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _the_log_is_as_before() -> Iterator[None]:
    """A server that comes as far as to its log has it go to what is standard error now."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(("content", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_told_in_one_line(content: bytes, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("shoal.toml").write_bytes(content)
    assert run(["serve"]) == 2
    _assert_one_line(capsys, words)


@pytest.mark.skipif(why_not_native() is not None, reason="grpcio takes keys of P-521")
def test_a_certificate_that_the_transport_cannot_use_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Authority().issue(*LOCAL, curve=ec.SECP521R1).write(Path.cwd(), "server")
    flags = ["--tls-certificate", "server.pem", "--tls-key", "server.key"]
    assert run(["serve", "--address", "127.0.0.1:0", "--transport", "native", *flags]) == 2
    _assert_one_line(capsys, ["server.pem: certificate and key are refused", "EC P-256 and P-384"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SHOAL_ADRESS", "x", ["SHOAL_ADRESS", "did you mean SHOAL_ADDRESS?"]),
        ("SHOAL_LIMITS__MAX_ROWS", "many", ["SHOAL_LIMITS__MAX_ROWS", "whole number", "'many'"]),
        ("SHOAL_LIMITS__MAX_ROWS", "9" * 500, ["SHOAL_LIMITS__MAX_ROWS"]),
        ("SHOAL_GRACE_S", "-1", ["SHOAL_GRACE_S", "from 0"]),
        ("SHOAL_TRANSPORT", "carrier pigeon", ["SHOAL_TRANSPORT", "auto"]),
        ("SHOAL_CONFIG", "nowhere.toml", ["nowhere.toml", "does not exist"]),
        ("SHOAL_CONFIG", "models", ["models", "cannot be read"]),
    ],
)
def test_a_wrong_variable_is_told_in_one_line(
    name: str, value: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert run(["serve"]) == 2
    _assert_one_line(capsys, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limits-max-rows", "-5"], ["--limits-max-rows", "from 1"]),
        (["--address", "\0"], ["--address", "HOST:PORT"]),
        (["--nothing"], ["--nothing"]),
        (["models", "more"], ["more"]),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", *arguments]) == 2
    _assert_one_line(capsys, words)


def _assert_one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("shoal: ")
    assert line.isprintable()
    assert len(line) < 1000
    for word in words:
        assert word in line, line
