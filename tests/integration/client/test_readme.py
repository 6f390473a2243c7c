"""The README's code for the client runs as it is written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server

README = Path(__file__).parents[3] / "README.md"
SECTION = "## From Python, with our client"
ADDRESS = "127.0.0.1:8001"


def written() -> list[str]:
    """Return the section's Python, block by block."""
    section = README.read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def digits() -> bytes:
    """Return a model that looks like the demo's: X FP32 [N, 64] -> label INT64 [N], the place of the largest pixel."""
    return models.graph(
        [helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0)],
        [("X", TensorProto.FLOAT, ["N", 64])],
        [("label", TensorProto.INT64, ["N"])],
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "digits", digits())
    with running_server(folder) as running:
        yield running


@pytest.mark.parametrize("number", range(3))
def test_the_code_of_the_readme_runs_as_written(
    served: RunningServer, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    code = written()[number]
    assert ADDRESS in code
    exec(compile(code.replace(ADDRESS, served.address), str(README), "exec"), {})  # noqa: S102 - our own words
    printed = capsys.readouterr().out
    wanted = ("[0] 1 ", "INVALID_ARGUMENT digits", "digits 1 [(1, 'READY')]")[number]
    assert wanted in printed


def test_every_block_of_the_section_is_run() -> None:
    assert len(written()) == 3
