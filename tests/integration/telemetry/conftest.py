"""The scripted scenario, played once for all tests of a worker."""

from pathlib import Path

import pytest

from shoal_testing.scripted import Told, play, save_models


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    return folder


@pytest.fixture(scope="session")
def told(folder: Path) -> Told:
    return play(folder)
