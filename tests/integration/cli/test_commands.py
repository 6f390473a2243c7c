"""The commands that ask a server, against a server."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shoal_server.cli.root import run
from shoal_testing import models, whole_models, zipmap_models

pytestmark = pytest.mark.timeout(55)  # above conftest's WAIT_S


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with one model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "double", models.vector(), version=3)
    models.save(folder, "sums", models.two_inputs_two_outputs())
    models.save(folder, "whole", whole_models.softmax_over_batch())
    models.save(folder, "echo", models.identity("BYTES", ["N"]))
    models.save(folder, "scalars", whole_models.scalars())
    models.save(folder, "constant", whole_models.constant())
    models.save(folder, "votes", zipmap_models.zipmaps())
    models.save(folder, "counted", models.vector())
    return serve(folder)


@pytest.fixture
def ask(address: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command against the server; returns exit code, output and errors."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--address", address])
        return code, *capsys.readouterr()

    return run_it


Ask = Callable[..., tuple[int, str, str]]


def test_health_says_serving_of_the_server_and_of_a_model(ask: Ask) -> None:
    assert ask("health") == (0, "SERVING\n", "")
    assert ask("health", "--model", "double") == (0, "SERVING\n", "")


def test_health_of_an_unknown_model_fails_with_its_status(ask: Ask) -> None:
    code, out, err = ask("health", "--model", "squid")
    assert (code, out) == (1, "")
    assert err.startswith("shoal: NOT_FOUND: ")
    assert "squid" in err


def test_models_lists_inputs_outputs_and_batching(ask: Ask) -> None:
    ask("infer", "counted", "--input", "[1, 2, 3]")
    code, out, _ = ask("models")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()}
    assert re.match(
        r"counted 1 READY yes stable [0-9a-f]{12} - yes yes 3 3\.0 x FP32\[-1] y FP32\[-1]", lines["counted"]
    )
    assert re.match(r"whole 1 READY yes stable [0-9a-f]{12} - no yes 0 - x FP32\[-1, 3] y FP32\[-1, 3]", lines["whole"])
    assert "a FP32[-1, 3], b FP32[-1, 3]" in lines["sums"]


def test_models_tell_what_a_batch_costs(ask: Ask) -> None:
    code, out, _ = ask("models", "--cost")
    assert code == 0
    assert re.search(r"^counted .* \d+\.\d\d us \+ \d+\.\d\d us a row, \+-\d+\.\d\d us ", out, re.MULTILINE), out
    assert re.search(r"^counted .* 1 x 1 thread: a batch of 64 rows is over in \d+ us ", out, re.MULTILINE), out


def test_models_as_json_is_for_programs(ask: Ask) -> None:
    code, out, _ = ask("models", "--json")
    assert code == 0
    [sums] = [entry for entry in json.loads(out) if entry["model"] == "sums"]
    assert sums["version"] == "1"
    assert sums["state"] == "READY"
    assert sums["outputs"] == ["sum FP32[-1, 3]", "difference FP32[-1, 3]"]


def test_the_only_input_needs_no_name_and_a_row_no_batch(ask: Ask) -> None:
    code, out, _ = ask("infer", "double", "--input", "1.5")
    assert code == 0
    assert out == "double, version 3\n\ny: FP32 [1]\n[3.]\n"
    assert ask("infer", "double", "--input", "x=[1.5]", "--version", "3")[1] == out


def test_inputs_are_named_and_come_from_json_and_files(ask: Ask, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3]]))
    code, out, _ = ask(
        "infer", "sums", "--input", "b=[1, 1, 1]", "--input", f"a=@{tmp_path}/a.npy", "--output", "difference", "--json"
    )
    assert code == 0
    assert json.loads(out) == {
        "model": "sums",
        "version": "1",
        "outputs": {"difference": {"datatype": "FP32", "shape": [1, 3], "data": [[0.0, 1.0, 2.0]]}},
    }


def test_strings_scalars_and_models_without_inputs_work(ask: Ask) -> None:
    assert json.loads(ask("infer", "echo", "--json", "--input", '["=", "x=ü"]')[1])["outputs"]["y"]["data"] == [
        "=",
        "x=ü",
    ]
    assert (
        json.loads(ask("infer", "scalars", "--json", "--input", "x=1.5", "--input", "n=2")[1])["outputs"]["y"]["data"]
        == 3.5
    )
    assert json.loads(ask("infer", "constant", "--json")[1])["outputs"]["y"]["data"] == [1.0, 2.0, 3.0]


def test_what_json_has_no_number_for_is_a_string(ask: Ask) -> None:
    out = ask("infer", "double", "--json", "--input", "[NaN, Infinity]")[1]
    assert json.loads(out)["outputs"]["y"]["data"] == ["nan", "inf"]


def test_scores_are_shown_with_their_labels_best_first(ask: Ask) -> None:
    _, out, _ = ask("infer", "votes", "--input", "[[-1, 2.5], [3, -0.125]]")
    assert "by_name: FP32 [2, 2]\nrow 0: no 1, yés -2.5\nrow 1: yés 0.125, no -3\n" in out
    assert "by_number: FP32 [2, 2]\nrow 0: 9 5, 7 -2\nrow 1: 7 6, 9 -0.25\n" in out
    assert "plain: FP32 [2, 2]\n[[-2. " in out, "without labels it is an array"


def test_labels_are_in_the_json(ask: Ask) -> None:
    answer = json.loads(ask("infer", "votes", "--input", "[1, 2]", "--json")[1])["outputs"]
    assert answer["by_name"] == {"datatype": "FP32", "shape": [1, 2], "labels": ["no", "yés"], "data": [[-1, -2]]}
    assert "labels" not in answer["plain"]


def test_many_labelled_rows_are_cut_with_a_hint(ask: Ask) -> None:
    _, out, _ = ask("infer", "votes", "--output", "by_name", "--input", json.dumps([[0.0] * 2] * 30))
    assert "row 19: " in out
    assert "row 20: " not in out
    assert "and 10 more rows; --json prints them all" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["squid", "--input", "1"], 1, ["NOT_FOUND: ", "squid"]),
        (["double", "--version", "9", "--input", "1"], 1, ["NOT_FOUND: ", "9"]),
        (["double", "--input", "[[1]]"], 1, ["INVALID_ARGUMENT: ", "'x'", "[-1]", "[1, 1]"]),
        (["double", "--output", "z", "--input", "1"], 1, ["INVALID_ARGUMENT: ", "'z'"]),
        (["sums", "--input", "a=[1, 2, 3]"], 1, ["INVALID_ARGUMENT: ", "'b'"]),
        (["sums", "--input", "[1, 2, 3]"], 2, ["names no input", "a FP32[-1, 3], b FP32[-1, 3]"]),
        (["double", "--input", "y=[1]"], 2, ["'y=[1]' names no input", "x FP32[-1]"]),
        (["double", "--input", '["a"]'], 2, ["input 'x' takes FP32, numbers: got 'a'"]),
        (["double", "--input", "@gone.npy"], 2, ["gone.npy cannot be read"]),
    ],
)
def test_an_inference_that_cannot_be_is_one_line(ask: Ask, arguments: list[str], code: int, words: list[str]) -> None:
    got, out, err = ask("infer", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize("command", [["health"], ["models"], ["infer", "m", "--input", "1"]])
def test_a_server_that_is_not_there_is_told_in_one_helpful_line(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # A port that nobody can listen on without being root, and nobody here does.
    assert run([*command, "--address", "127.0.0.1:1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == "shoal: no server answers at 127.0.0.1:1; start one by `shoal serve PATH`, or say where by --address\n"
    )


def test_a_server_that_is_silent_is_waited_for_no_longer_than_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert run(["health", "--address", address, "--timeout-s", "0.2"]) == 1
    assert f"DEADLINE_EXCEEDED: {address} gave no answer within 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("doubel", "NOT_FOUND: unknown model 'doubel'; did you mean double?"),
        (
            "zzz",
            "NOT_FOUND: unknown model 'zzz'; there is constant, counted, double, echo, scalars, sums, votes, whole",
        ),
    ],
)
def test_infer_names_what_there_is_in_the_place_of_a_model_that_is_not(ask: Ask, model: str, said: str) -> None:
    assert ask("infer", model, "--input", "1") == (1, "", f"shoal: {said}\n")


def test_health_names_what_there_is_in_the_place_of_a_model_that_is_not(ask: Ask) -> None:
    said = "shoal: NOT_FOUND: unknown model 'doubel'; did you mean double?\n"
    assert ask("health", "--model", "doubel") == (1, "", said)


def test_infer_of_a_version_that_is_not_names_those_that_are(ask: Ask) -> None:
    code, out, err = ask("infer", "double", "--version", "9", "--input", "1")
    assert (code, out) == (1, "")
    assert err == "shoal: NOT_FOUND: model 'double' has no version '9'; it has [3]\n"


def test_config_of_models_that_are_not_there_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["config", str(tmp_path / "nosuch")]) == 2
    assert "nosuch does not exist: PATH is that of the models" in capsys.readouterr().err
    assert run(["config", str(tmp_path)]) == 0
