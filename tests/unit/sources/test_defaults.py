"""What holds where a model's own configuration is silent."""

from pathlib import Path

import pytest

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingOptions, RuntimeOptions
from shoal_server.sources import Settings, open_source

DEFAULTS = Settings(
    batching=BatchingOptions(max_rows=7, delay_s=0.003, default_timeout_s=5.0),
    runtime=RuntimeOptions(intra_op_threads=3),
)


def described(root: Path, **files: str) -> ModelDefinition:
    folder = root / "m" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"not read here")
    for name, text in files.items():
        (root / "m" / name.replace("_", ".")).write_text(text)
    return open_source(root, DEFAULTS).describe("m")


def test_a_model_without_configuration_takes_the_servers_defaults(tmp_path: Path) -> None:
    definition = described(tmp_path)
    assert definition.batching == DEFAULTS.batching
    assert definition.runtime == DEFAULTS.runtime


@pytest.mark.parametrize(
    ("pbtxt", "delay_s"),
    [("dynamic_batching { max_queue_delay_microseconds: 100 }", 100e-6), ("dynamic_batching { }", 0.0)],
)
def test_what_config_pbtxt_says_is_stronger_than_the_servers_defaults(
    tmp_path: Path, pbtxt: str, delay_s: float
) -> None:
    definition = described(tmp_path, config_pbtxt=f"max_batch_size: 4 {pbtxt}")
    assert definition.batching.max_rows == 4
    assert definition.batching.delay_s == pytest.approx(delay_s)
    assert definition.batching.default_timeout_s == 5.0
    assert definition.runtime.intra_op_threads == 3


def test_model_toml_changes_only_what_it_names(tmp_path: Path) -> None:
    definition = described(tmp_path, model_toml="[batching]\nmax_rows = 2\n")
    assert (definition.batching.max_rows, definition.batching.delay_s) == (2, 0.003)
