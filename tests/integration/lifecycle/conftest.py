"""A server of one model ``m`` of three versions, of which version 1 answers: version v adds v."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest
from shoal_testing.operator import Operator
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

ONLY_THE_FIRST = 'backend: "onnxruntime"\nversion_policy { specific { versions: [1] } }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for version in (1, 2, 3):
        models.save(folder, "m", plus(version), version)
    folder.joinpath("m", "config.pbtxt").write_text(ONLY_THE_FIRST)
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running
        assert_at_rest(running)


@pytest.fixture
def operator(served: RunningServer) -> Iterator[Operator]:
    with Operator(served.address) as opened:
        yield opened
