from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.runtime import OrtLoader
from shoal_server.runtime.ort_model import OrtModel
from shoal_testing import models

Load = Callable[..., OrtModel]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Load a serialised model, or a path, as a definition with these fields describes it."""
    loader = OrtLoader(cpus=1.0)
    loaded: list[OrtModel] = []

    def load(model: bytes | Path, **fields: Any) -> OrtModel:  # noqa: ANN401 - the fields of ModelDefinition
        path = model if isinstance(model, Path) else models.save(tmp_path, f"m{len(loaded)}", model)
        loaded.append(loader.load(ModelDefinition("m", {1: path}, **fields), 1, lambda: None))
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()
