"""`shoal certs`, and what the commands say when certificates do not fit."""

import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from shoal_server.cli.root import run
from shoal_server.config import OPTIONS
from shoal_testing import models
from shoal_testing.certificates import CALLER, LOCAL, Authority
from shoal_testing.server import running_server
from shoal_testing.trusted import TrustedServer, trusted_server

Output = pytest.CaptureFixture[str]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a shoal.toml, and an environment that sets nothing."""
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("SHOAL_CONFIG", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustedServer]:
    with trusted_server(tmp_path_factory.mktemp("served")) as server:
        yield server


def complaint(capsys: Output, *arguments: str) -> str:
    """Return what a command that fails says, in its one line."""
    capsys.readouterr()
    assert run(list(arguments)) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1, err
    return err


def test_what_is_made_serves_and_calls_without_another_flag(folder: Path, capsys: Output) -> None:
    assert run(["certs", "dev"]) == 0
    made = tomllib.loads(capsys.readouterr().out)
    models.save(folder / "models", "m", models.identity())
    with running_server(folder / "models", tls=made["tls"], admin=made["admin"]) as running:
        settings = "\n".join(f"{key} = '{value}'" for key, value in made["client"].items())
        (folder / "shoal.toml").write_text(f"address = '{running.address}'\n[client]\n{settings}")
        assert run(["health"]) == 0
        assert run(["models", "load", "m", "1", "--dry-run"]) == 0
        other = ("--tls-certificate", "certs/caller.pem", "--tls-key", "certs/caller.key")
        assert run(["health", *other]) == 0
        capsys.readouterr()
        assert run(["models", "load", "m", "1", *other]) != 0
        assert "spiffe://shoal.dev/caller" in capsys.readouterr().err


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    assert run(["certs", "dev", "made/here", "--client", "admin"]) == 0
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "made/here").iterdir()}
    assert made.keys() == {f"{name}.{kind}" for name in ("ca", "server", "admin", "caller") for kind in ("pem", "key")}
    assert {mode for name, mode in made.items() if name.endswith(".key")} == {0o600}


def test_nothing_is_overwritten_unasked(folder: Path, capsys: Output) -> None:
    (folder / "certs").mkdir()
    (folder / "certs/server.key").write_text("mine")
    assert "certs has server.key already; --force overwrites" in complaint(capsys, "certs", "dev")
    assert [path.read_text() for path in (folder / "certs").iterdir()] == ["mine"]
    assert run(["certs", "dev", "--force"]) == 0
    assert "BEGIN PRIVATE KEY" in (folder / "certs/server.key").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "a b"], "--host 'a b' is neither a DNS name nor an address"),
        (["--host", ""], "--host '' is neither"),
        (["--client", "../x"], "--client '../x' is no name"),
        (["--client", "server"], "--client 'server' is no name"),
        (["--days", "0"], "--days"),
        (["file/certs"], "cannot be written"),
    ],
)
def test_what_cannot_be_made_is_told_and_nothing_written(
    folder: Path, capsys: Output, arguments: list[str], words: str
) -> None:
    (folder / "file").write_text("in the way")
    assert words in complaint(capsys, "certs", "dev", *arguments)
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_the_names_of_the_server_and_its_clients_are_shown(capsys: Output) -> None:
    assert run(["certs", "dev", "--host", "inference.internal", "--host", "10.0.0.7", "--client", "checkout"]) == 0
    capsys.readouterr()
    assert run(["certs", "show", "certs/server.pem"]) == 0
    shown = capsys.readouterr().out
    assert "names     DNS:localhost, DNS:inference.internal, IP:127.0.0.1, IP:::1, IP:10.0.0.7\n" in shown
    assert "(90 days left)" in shown
    assert run(["certs", "show", "certs/checkout.pem"]) == 0
    assert capsys.readouterr().out.startswith("identity  spiffe://shoal.dev/checkout\n")


def test_every_certificate_of_a_chain_is_shown_and_what_is_expired(folder: Path, capsys: Output) -> None:
    between = Authority("between", parent=Authority())
    between.issue(subject='a, "b"', ends=-DAY / 2).write(folder, "chain")
    assert run(["certs", "show", "chain.pem"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith('identity  subject:CN=a\\, \\"b\\"\n')
    assert "(EXPIRED)" in first
    assert "CA        no" in first
    assert "CA        yes" in second


@pytest.mark.parametrize(
    "content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_told(folder: Path, capsys: Output, content: bytes | None) -> None:
    if content is not None:
        (folder / "file.pem").write_bytes(content)
    told = complaint(capsys, "certs", "show", "file.pem")
    assert told.startswith("shoal: file.pem ")


def test_a_key_in_the_place_of_a_certificate_is_told(capsys: Output) -> None:
    assert run(["certs", "dev"]) == 0
    told = complaint(capsys, "certs", "show", "certs/caller.key")
    assert told == "shoal: certs/caller.key has no certificate: wanted BEGIN CERTIFICATE, it holds a private key\n"


def test_a_handshake_that_fails_is_explained(served: TrustedServer, folder: Path, capsys: Output) -> None:
    at = ("--address", served.running.address, "--timeout-s", "5")
    (folder / "other.pem").write_bytes(Authority("other CA").certificate)
    (folder / "ca.pem").write_bytes(served.authority.certificate)
    served.authority.issue(CALLER).write(folder, "caller")
    Authority("other CA").issue(CALLER).write(folder, "stranger")
    trusting = ("--tls-ca", "ca.pem")
    caller = ("--tls-certificate", "caller.pem", "--tls-key", "caller.key")
    stranger = ("--tls-certificate", "stranger.pem", "--tls-key", "stranger.key")
    assert run(["health", *at, *trusting, *caller]) == 0
    assert "speaks TLS: say whom to trust by --tls-ca FILE" in complaint(capsys, "health", *at)
    told = complaint(capsys, "health", *at, "--tls-ca", "other.pem", *caller)
    assert "is of a CA that is not in other.pem" in told
    told = complaint(capsys, "health", *at, *trusting, *caller, "--tls-server-name", "elsewhere")
    assert "is not for elsewhere" in told
    assert "client certificate" in complaint(capsys, "health", *at, *trusting)
    told = complaint(capsys, "health", *at, *trusting, *stranger)
    assert "does not accept the certificate in stranger.pem" in told or "of a CA that it does not know" in told


def test_a_handshake_that_fails_is_explained_by_one_line_and_none_of_a_librarys(
    served: TrustedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ca.pem").write_bytes(served.authority.certificate)
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    command = [sys.executable, "-m", "shoal_server", "health", "--tls-ca", "ca.pem", "--timeout-s", "50"]
    command += ["--address", served.running.address]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)  # noqa: S603 - our own
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("shoal: ")
    assert ended.stderr.count("\n") == 1, ended.stderr


def test_certificates_of_ones_own_that_do_not_fit_are_told_before_the_call(
    served: TrustedServer, folder: Path, capsys: Output
) -> None:
    at = ("--address", served.running.address, "--tls-ca", "ca.pem")
    (folder / "ca.pem").write_bytes(served.authority.certificate)
    served.authority.issue(CALLER).write(folder, "caller")
    served.authority.issue(CALLER, begins=-2 * DAY, ends=-DAY).write(folder, "old")
    told = complaint(capsys, "health", *at, "--tls-certificate", "old.pem", "--tls-key", "old.key")
    assert f"the certificate of {CALLER} in old.pem has expired" in told
    told = complaint(capsys, "health", *at, "--tls-certificate", "caller.pem", "--tls-key", "old.key")
    assert "the key in old.key is not that of the certificate in caller.pem" in told
    told = complaint(capsys, "health", *at, "--tls-certificate", "caller.pem")
    assert "--tls-certificate is given and --tls-key is not" in told
    told = complaint(capsys, "health", "--address", served.running.address, "--tls-ca", "gone.pem")
    assert "gone.pem cannot be read" in told


def test_a_server_whose_certificate_expires_while_it_serves_is_told_as_that(folder: Path, capsys: Output) -> None:
    models.save(folder / "models", "m", models.identity())
    authority = Authority()
    certificate, key = authority.issue(*LOCAL, ends=timedelta(seconds=3)).write(folder, "server")
    (folder / "ca.pem").write_bytes(authority.certificate)
    with running_server(folder / "models", tls={"certificate": certificate, "key": key}) as running:
        arguments = ["health", "--address", running.address, "--tls-ca", "ca.pem", "--timeout-s", "5"]
        while run(arguments) == 0:
            Event().wait(0.05)
        assert "has expired (or the clock here is wrong)" in complaint(capsys, *arguments)


def test_tls_towards_a_server_without_it_is_told(folder: Path, capsys: Output) -> None:
    models.save(folder / "models", "m", models.identity())
    (folder / "ca.pem").write_bytes(Authority().certificate)
    with running_server(folder / "models") as running:
        told = complaint(capsys, "health", "--address", running.address, "--tls-ca", "ca.pem", "--timeout-s", "5")
        assert "serves without TLS" in told
