import os
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.runtime.model_files import require_readable, snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m" / "3" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"model")
    (file.parent / "weights.bin").write_bytes(b"12345678")
    return file


def test_nothing_changed(path: Path) -> None:
    before = snapshot(path, 3)
    assert snapshot(path, 3) == before
    assert before.size_bytes == 13


def test_other_versions_are_none_of_its_files(path: Path) -> None:
    before = snapshot(path, 3)
    other = path.parents[1] / "4"
    other.mkdir()
    (other / "model.onnx").write_bytes(b"next")
    assert snapshot(path, 3) == before


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "more.bin"])
def test_any_file_of_the_version_counts(path: Path, name: str) -> None:
    before = snapshot(path, 3)
    (path.parent / name).write_bytes(b"changed")
    assert snapshot(path, 3) != before


def test_a_file_that_takes_the_place_of_another_counts_though_it_looks_the_same(path: Path) -> None:
    before = snapshot(path, 3)
    status = path.stat()
    replacement = path.with_name("new")
    replacement.write_bytes(b"MODEL")
    os.utime(replacement, ns=(status.st_atime_ns, status.st_mtime_ns))
    replacement.replace(path)
    assert snapshot(path, 3) != before


def test_files_in_folders_of_the_version_count(path: Path) -> None:
    before = snapshot(path, 3)
    (path.parent / "data").mkdir()
    (path.parent / "data" / "part").write_bytes(b"1")
    assert snapshot(path, 3) != before


def test_a_model_file_in_a_folder_of_its_name_belongs_to_the_version(tmp_path: Path) -> None:
    path = tmp_path / "1" / "model.onnx" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"model")
    before = snapshot(path, 1)
    (tmp_path / "1" / "weights.bin").write_bytes(b"1")
    assert snapshot(path, 1) != before


def test_neighbours_of_a_file_that_is_served_by_itself_count_only_if_they_are_named_like_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    before = snapshot(path, 1)
    (tmp_path / "notes.txt").write_bytes(b"1")
    assert snapshot(path, 1) == before
    (tmp_path / "model.onnx_data").write_bytes(b"1")
    assert snapshot(path, 1) != before


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert snapshot(tmp_path / "gone" / "model.onnx", 1).files == frozenset()


def test_what_cannot_be_read_is_refused_with_a_reason(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoadFailed, match=r"^it is a folder, not a file$"):
        require_readable(path.parent)
    with pytest.raises(LoadFailed, match=r"^it cannot be read: no such file or directory$"):
        require_readable(path.with_name("gone"))
    path.write_bytes(b"")
    with pytest.raises(LoadFailed, match=r"^it is empty$"):
        require_readable(path)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)  # root may read everything
    with pytest.raises(LoadFailed, match=r"^it cannot be read: permission denied$"):
        require_readable(path)
