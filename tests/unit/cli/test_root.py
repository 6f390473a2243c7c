import gc
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import shoal
import shoal_server
from shoal_server.cli.root import SUMMARIES, run
from shoal_server.config import OPTIONS, Settings

ROOTS = [str(Path(package.__file__ or "").parents[1]) for package in (shoal, shoal_server)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a shoal.toml, and an environment that sets nothing."""
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("SHOAL_CONFIG", raising=False)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    out = capsys.readouterr().out
    for name, summary in SUMMARIES.items():
        assert f"{name} " in out
        assert summary in out, "cut short: a summary has one line of an 80-column terminal"


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_help_of_a_command_starts_with_its_summary_and_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"\n\n  {SUMMARIES[name]}\n" in out
    assert f"\n  Example:\n      shoal {name}" in out
    assert (import_module(f"shoal_server.cli.{name}").command.__doc__ or "").startswith(SUMMARIES[name])


@pytest.mark.parametrize("name", ["serve", "config"])
def test_a_command_that_takes_settings_explains_each_of_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run([name, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS.values():
        assert option.flag in out
        assert f"{option.why} Takes {option.wanted}; {option.shown_default} by default." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swim"], ["No such command 'swim'", "`shoal --help`"]),
        (["--swim"], ["No such option: --swim", "`shoal --help`"]),
        (["serve", "--adress", "x"], ["--adress", "--address", "`shoal serve --help`"]),
        (["serve", "a", "b"], ["b", "`shoal serve --help`"]),
        (["infer"], ["MODEL", "`shoal infer --help`"]),
        (["infer", "m", "--input"], ["--input", "`shoal infer --help`"]),
        (["health", "--timeout-s", "soon"], ["--timeout-s", "`shoal health --help`"]),
        (["health", "--timeout-s", "0"], ["--timeout-s", "`shoal health --help`"]),
        (["serve", "--grace-s", "soon"], ["--grace-s: grace_s must be a number of seconds", "got 'soon'"]),
        (["serve", "--config", "gone.toml"], ["gone.toml does not exist"]),
        (["health", "--address", "8001"], ["HOST:PORT", "got '8001'"]),
        (["health", "--address", "two\nlines"], ["HOST:PORT"]),
        (["health", "--address", "127.0.0.1:0"], ["`ready` line", "--address"]),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


def test_an_unknown_variable_stops_every_command_that_needs_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_ADRESS", "127.0.0.1:1")
    for arguments in (["serve"], ["config"], ["health"]):
        assert run(arguments) == 2
        assert (
            capsys.readouterr().err
            == "shoal: the variable SHOAL_ADRESS sets nothing that exists; did you mean SHOAL_ADDRESS?\n"
        )


def test_the_configuration_in_force_is_printed_as_a_file_that_gives_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_LIMITS__MAX_ROWS", "77")
    (folder / 'my\n"models\\').mkdir()
    (folder / "shoal.toml").write_text('log_level = "debug"\n[batching]\ndelay_ms = 1.5')
    assert run(["config", 'my\n"models\\', "--address", "[::1]:0"]) == 0
    out = capsys.readouterr().out
    settings = Settings.model_validate(tomllib.loads(out))
    assert settings.models == Path('my\n"models\\')
    assert (settings.address, settings.log_level, settings.batching.delay_ms) == ("[::1]:0", "debug", 1.5)
    assert settings.limits.max_rows == 77
    top = out.partition("[limits]")[0]
    origins = {line.partition(" = ")[0]: line.rpartition("# ")[2] for line in top.splitlines() if " = " in line}
    assert origins["models"] == "PATH"
    assert origins["address"] == "--address"
    assert origins["log_level"] == "shoal.toml"
    assert origins["grace_s"] == "default"
    assert "max_rows = 77  # SHOAL_LIMITS__MAX_ROWS" in out


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith("shoal ")


@pytest.mark.parametrize(
    ("what", "without"),
    [
        (
            "from shoal_server.cli.root import run; run(['--help']); run(['version'])",
            {"grpc", "numpy", "onnxruntime", "google.protobuf", "uvloop", "shoal_server.config"},
        ),
        (
            "import shoal_server.cli.serve",
            {"grpc", "cryptography", "rich", "opentelemetry", "prometheus_client", "shoal_server.sources.model_toml"},
        ),
        ("import shoal_server.cli.health", {"cryptography", "rich", "numpy", "shoal_server.events"}),
        ("import shoal_server.cli.models", {"cryptography", "rich", "numpy", "shoal_server.events"}),
        ("import shoal_server.cli.certs", {"grpc", "numpy", "shoal_server.config"}),
    ],
    ids=["help", "serve", "health", "models", "certs"],
)
def test_commands_wait_for_no_slow_import_that_they_may_do_without(what: str, without: set[str]) -> None:
    script = (
        f"import sys; sys.path[:0] = {ROOTS!r}\n"
        f"{what}\n"
        f"slow = {without!r} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, text=True)  # noqa: S603
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_while_a_command_is_imported_and_what_was_imported_is_never_looked_at(
    enabled: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[bool] = []

    def command() -> None:
        """Do nothing."""
        found.append(gc.isenabled())
        found.append(gc.get_freeze_count() > frozen)

    def imported(_: str) -> SimpleNamespace:
        found.append(gc.isenabled())
        return SimpleNamespace(command=command)

    monkeypatch.setattr("shoal_server.cli.root.import_module", imported)
    gc.unfreeze()
    frozen = gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        assert run(["version"]) == 0
    finally:
        gc.enable()
    assert found == [False, enabled, True]


@pytest.mark.parametrize(("flag", "same"), [("--version", "version"), ("-h", "--help")])
def test_the_usual_flags_work(capsys: pytest.CaptureFixture[str], flag: str, same: str) -> None:
    assert run([flag]) == 0
    said = capsys.readouterr().out
    assert run([same]) == 0
    assert said == capsys.readouterr().out != ""
