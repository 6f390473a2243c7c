"""The Open Inference Protocol by kserve's own client."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server

CALLER = Path(__file__).with_name("kserve_caller.py")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for datatype in ("FP32", "INT64", "BYTES"):
        models.save(folder, datatype, models.identity(datatype))
    with running_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def found(served: RunningServer) -> dict[str, Any]:
    """What kserve's client got, all in one go: it takes seconds to import."""
    command = [sys.executable, "-W", "ignore", str(CALLER), served.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


# The first to ask for `found` waits for the import.
pytestmark = pytest.mark.timeout(60)


def test_kserves_client_sees_who_is_live_and_ready(found: dict[str, Any]) -> None:
    assert (found["live"], found["ready"]) == (True, True)
    assert found["models"] == {"FP32": True, "nobody": False}


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES"])
@pytest.mark.parametrize("form", ["raw", "typed"])
def test_kserves_client_gets_back_what_it_sent(found: dict[str, Any], form: str, datatype: str) -> None:
    answer = found[f"{form} {datatype}"]
    assert answer.get("values") == {"y": found["sent"][datatype]}, answer
    assert (answer["types"], answer["shapes"]) == ({"y": datatype}, {"y": [2, 2]})
    assert (answer["model"], answer["version"]) == (datatype, "1")


def test_kserves_client_gets_its_id_back(found: dict[str, Any]) -> None:
    assert found["raw INT64"]["id"] == "id of INT64"


def test_kserves_client_may_ask_for_outputs(found: dict[str, Any]) -> None:
    assert list(found["output"]["values"]) == ["y"]


@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("unknown model", "NOT_FOUND", "unknown model 'nobody'"),
        ("unknown output", "INVALID_ARGUMENT", "unknown output 'z'; the model gives ['y']"),
        ("wrong type", "INVALID_ARGUMENT", "input 'x' takes INT64, got FP32 data"),
    ],
)
def test_kserves_client_is_told_what_was_wrong(found: dict[str, Any], what: str, status: str, text: str) -> None:
    assert found[what] == {"status": status, "text": text}


def test_concurrent_calls_of_kserves_client_each_get_their_own_answer(found: dict[str, Any]) -> None:
    assert found["at once"] == found["sent at once"]
