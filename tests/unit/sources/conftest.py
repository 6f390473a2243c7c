"""Model repositories in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.sources.settings import Settings
from shoal_server.sources.tree import Tree
from shoal_server.sources.triton_config import read_config

# The wire form of a ModelProto: ir_version 8, a graph of four bytes, one opset.
TINY_MODEL = bytes.fromhex("0808 3a04 12026162 4202 1011")

Put = Callable[..., Path]
Read = Callable[[str], Settings]
Refusal = Callable[[str], str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file of the repository, and its folders: ``put("m/1/model.onnx")``, ``put("m/model.toml", text)``."""

    def write(name: str, content: str | bytes = TINY_MODEL) -> Path:
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The repository that ``put`` writes into."""
    path = tmp_path / "repository"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def read(put: Put, root: Path) -> Read:
    """What a text asks for, as the config.pbtxt of a model called m."""

    def settings_of(text: str) -> Settings:
        put("m/config.pbtxt", text)
        return read_config(Tree(root), root / "m", "m")

    return settings_of


@pytest.fixture
def refusal(read: Read) -> Refusal:
    """Why a text is refused, as the config.pbtxt of a model called m."""

    def reason_of(text: str) -> str:
        with pytest.raises(LoadFailed) as raised:
            read(text)
        return str(raised.value).removeprefix("m/config.pbtxt: ")

    return reason_of
