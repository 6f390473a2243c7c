from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.sources.tree import Tree, because

Put = Callable[..., Path]


def test_files_are_named_relative_to_the_repository(root: Path) -> None:
    assert Tree(root).name(root / "m/1/model.onnx") == "m/1/model.onnx"


def test_files_of_a_models_own_folder_are_named_with_the_model(root: Path) -> None:
    assert Tree(root / "m", "m").name(root / "m/1") == "m/1"
    assert Tree(root / "m", "m").name(root / "m") == "m"


def test_a_file_that_may_not_be_read_has_the_systems_reason(
    put: Put, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put("m/config.pbtxt", "")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(LoadFailed, match=r"^m/config\.pbtxt cannot be read: permission denied$"):
        Tree(root).read_text(path, 10)


def test_a_file_may_be_as_large_as_its_limit_and_no_larger(put: Put, root: Path) -> None:
    path = put("m/config.pbtxt", "x" * 10)
    assert Tree(root).read_text(path, 10) == "x" * 10
    with pytest.raises(LoadFailed, match=r"^m/config\.pbtxt has 10 bytes, wanted at most 9$"):
        Tree(root).read_text(path, 9)


def test_a_folder_is_known_from_what_is_none(put: Put, root: Path) -> None:
    tree = Tree(root)
    put("m/1/model.onnx")
    assert [tree.is_folder(root / name) for name in ("m", "m/1/model.onnx", "gone")] == [True, False, False]


def test_a_system_error_without_words_is_named_by_its_kind() -> None:
    assert because(OSError()) == "oserror"
    assert because(FileNotFoundError(2, "No such file or directory", "x")) == "no such file or directory"
