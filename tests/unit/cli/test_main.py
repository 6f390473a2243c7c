"""The command where only the client is installed."""

import sys

import pytest

from shoal_server import __main__ as command


def test_where_the_servers_packages_are_missing_the_command_says_what_brings_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'typer'", name="typer")

    monkeypatch.setattr(command, "import_module", missing)
    monkeypatch.setattr(command, "outlive_readers", lambda: None)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "shoal: the command needs typer: pip install 'CHECKOUT[server]'\n"


def test_a_module_of_our_own_that_is_missing_is_a_bug_and_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr(command, "import_module", missing)
    monkeypatch.setattr(command, "outlive_readers", lambda: None)
    monkeypatch.setattr(sys, "argv", ["shoal"])
    with pytest.raises(ModuleNotFoundError, match=r"shoal_server\.cli\.root"):
        command.main()
