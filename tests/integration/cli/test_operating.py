"""The commands that change models, against a server that does it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_server.cli.root import run
from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One model, whose version v adds v."""
    models.save(tmp_path / "models", "m", plus(1), 1)
    return tmp_path / "models"


@pytest.fixture
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running
        assert_at_rest(running)


@pytest.fixture
def ask(folder: Path, served: RunningServer, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command against the server, whose folder has a second version by now; returns code, output and errors."""
    models.save(folder, "m", plus(2), 2)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--address", served.address])
        return code, *capsys.readouterr()

    return run_it


def answer(ask: Ask, *version: str) -> tuple[str, float]:
    code, out, err = ask("infer", "m", "--input", "[0, 0]", "--json", *version)
    assert code == 0, err
    found = json.loads(out)
    return found["version"], found["outputs"]["y"]["data"][0][0]


def listed(ask: Ask) -> dict[str, dict[str, object]]:
    return {version["version"]: version for version in json.loads(ask("models", "--json")[1])}


def test_a_swap_is_done_step_by_step_and_rolled_back_at_once(ask: Ask) -> None:
    assert answer(ask) == ("1", 1.0)
    code, out, err = ask("models", "swap", "m", "2")
    assert (code, err) == (0, "")
    ended = [line.split(":")[0].strip() for line in out.splitlines() if line.startswith("  ") and " begun " not in line]
    assert ended[:5] == [
        "look what there is",
        "load version 2",
        "warm up version 2",
        "record what is wanted",
        "publish version 2",
    ]
    assert "m: version 2 answers now, in the place of version 1" in out
    assert "  kept warm  version 1 until " in out
    assert answer(ask) == ("2", 2.0)
    now = listed(ask)
    assert (now["2"]["current"], now["2"]["labels"]) == (True, ["stable"])
    assert (now["1"]["current"], now["1"]["labels"]) == (False, ["previous"])
    assert f"sha256 {now['2']['digest']}" in out
    code, out, _ = ask("models", "rollback", "m")
    assert code == 0
    assert "  load version" not in out
    assert answer(ask) == ("1", 1.0)


def test_what_is_so_already_is_done_and_says_so(ask: Ask) -> None:
    code, out, _ = ask("models", "swap", "m", "1")
    assert code == 0
    assert "m: all is so already, nothing was changed; version 1 answers" in out


def test_a_dry_run_tries_the_version_and_changes_nothing(ask: Ask) -> None:
    code, out, _ = ask("models", "swap", "m", "2", "--dry-run", "--json")
    assert code == 0
    *steps, last = map(json.loads, out.splitlines())
    assert [step["step"]["kind"] for step in steps if step["step"]["seconds"] is not None] == [
        "DESCRIBE",
        "LOAD",
        "WARM_UP",
    ]
    assert last["result"]["changed"] is False
    assert last["result"]["current_version"] == 1
    assert answer(ask) == ("1", 1.0)


def test_the_same_key_is_the_same_swap(ask: Ask) -> None:
    first = ask("models", "swap", "m", "2", "--idempotency-key", "k", "--json")
    ask("models", "rollback", "m")
    again = ask("models", "swap", "m", "2", "--idempotency-key", "k", "--json")
    assert again[1].splitlines()[-1] == first[1].splitlines()[-1]
    assert answer(ask) == ("1", 1.0), "it was not done a second time"


def test_a_version_beside_the_one_that_answers_has_a_name_and_goes(ask: Ask) -> None:
    assert ask("models", "load", "m", "2")[0] == 0
    assert ask("models", "label", "m", "canary", "2")[1] == "m: label canary stands for version 2 now\n"
    assert answer(ask) == ("1", 1.0)
    assert answer(ask, "--version", "canary") == ("2", 2.0)
    assert ask("models", "label", "m", "canary", "--remove")[0] == 0
    code, out, _ = ask("models", "unload", "m", "2")
    assert code == 0
    assert "  publish what is left: " in out
    assert "m: done; version 1 answers, as before" in out
    assert ask("infer", "m", "--input", "[0, 0]", "--version", "2")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swap", "m", "9"], "NOT_FOUND: "),
        (["swap", "m", "2", "--expect", "7"], "FAILED_PRECONDITION: "),
        (["swap", "squid", "1"], "NOT_FOUND: "),
        (["unload", "m", "1"], "FAILED_PRECONDITION: "),
        (["rollback", "m"], "FAILED_PRECONDITION: "),
        (["label", "m", "stable", "1"], "INVALID_ARGUMENT: "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(ask: Ask, arguments: list[str], words: str) -> None:
    code, _, err = ask("models", *arguments)
    assert code == 1
    assert err.startswith(f"shoal: {words}")
    assert err.count("\n") == 1
    assert answer(ask) == ("1", 1.0)


def test_a_watch_tells_what_is_there(ask: Ask) -> None:
    code, out, err = ask("models", "watch", "m", "--timeout-s", "1.5")
    assert (code, err) == (0, "")
    assert "m version 1: READY" in out
    assert "m: version 1 answers now" in out


def test_a_drained_server_is_not_ready_until_that_is_undone(ask: Ask) -> None:
    assert ask("drain")[0] == 0
    assert ask("health")[0] == 1
    assert ask("infer", "m", "--input", "[0, 0]")[2].startswith("shoal: UNAVAILABLE: ")
    assert ask("drain", "--undo")[0] == 0
    assert ask("health")[0] == 0
    assert answer(ask) == ("1", 1.0)
