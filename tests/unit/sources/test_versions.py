import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.sources.tree import Tree
from shoal_server.sources.versions import Versions, find_versions

Put = Callable[..., Path]


def versions_of(root: Path, model: str = "m", file_name: str = "model.onnx") -> Versions:
    return find_versions(Tree(root), root / model, file_name)


def test_complete_versions_are_found_ascending(put: Put, root: Path) -> None:
    files = {number: put(f"m/{number}/model.onnx") for number in (10, 2, 9)}
    assert list(versions_of(root).complete.items()) == sorted(files.items())


def test_folders_that_are_no_versions_are_passed_over(put: Put, root: Path) -> None:
    for name in ("1.tmp", ".1", "v1", "warmup", "configs", "2-old"):
        put(f"m/{name}/model.onnx")
    assert versions_of(root) == Versions({}, {}, ())


@pytest.mark.parametrize("name", ["0", "007", "9223372036854775808"])
def test_a_number_that_is_no_version_is_remarked_on(put: Put, root: Path, name: str) -> None:
    put(f"m/{name}/model.onnx")
    remark = f"m/{name} is ignored: a version is a whole number above 0, without leading zeros"
    assert versions_of(root) == Versions({}, {}, (remark,))


def test_a_version_without_its_file_is_refused(put: Put, root: Path) -> None:
    put("m/1/readme.md")
    put("m/2/bert.onnx")
    refused = {1: "m/1 has no model.onnx", 2: "m/2 has no model.onnx; it has 'bert.onnx'"}
    assert versions_of(root) == Versions({}, refused)


def test_a_version_whose_file_is_empty_is_refused(put: Put, root: Path) -> None:
    put("m/1/model.onnx", b"")
    assert versions_of(root).refused == {1: "m/1/model.onnx is empty"}


def test_a_version_that_is_being_copied_is_refused_until_the_copy_is_done(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    part = put("m/1/weights.bin.part", b"")
    assert versions_of(root) == Versions({}, {1: "m/1 is still being copied: it has 'weights.bin.part'"})
    part.rename(part.with_suffix(""))
    assert versions_of(root).complete == {1: root / "m/1/model.onnx"}


def test_a_version_in_the_external_data_layout_is_its_inner_file(put: Put, root: Path) -> None:
    inner = put("m/1/model.onnx/model.onnx")
    put("m/1/model.onnx/weights.bin", b"\0")
    assert versions_of(root).complete == {1: inner}


def test_a_copy_within_the_external_data_layout_is_seen(put: Put, root: Path) -> None:
    put("m/1/model.onnx/model.onnx")
    put("m/1/model.onnx/.weights.bin.Xy12Zz")
    reason = "m/1/model.onnx is still being copied: it has '.weights.bin.Xy12Zz'"
    assert versions_of(root).refused == {1: reason}


def test_a_folder_within_the_external_data_layout_is_no_file(put: Put, root: Path) -> None:
    put("m/1/model.onnx/model.onnx/model.onnx")
    assert versions_of(root).refused == {1: "m/1/model.onnx/model.onnx is a folder, wanted a file"}


def test_an_empty_folder_in_place_of_the_model_is_refused(root: Path) -> None:
    (root / "m/1/model.onnx").mkdir(parents=True)
    assert versions_of(root).refused == {1: "m/1/model.onnx has no model.onnx"}


def test_a_file_in_place_of_a_version_folder_is_refused(put: Put, root: Path) -> None:
    put("m/1")
    assert versions_of(root).refused == {1: "m/1 is not a folder"}


def test_another_file_name_is_looked_for_when_the_owner_says_so(put: Put, root: Path) -> None:
    path = put("m/1/net.onnx")
    assert versions_of(root, file_name="net.onnx").complete == {1: path}


def test_a_pipe_in_place_of_the_model_is_refused_and_not_waited_for(root: Path) -> None:
    (root / "m/1").mkdir(parents=True)
    os.mkfifo(root / "m/1/model.onnx")
    assert versions_of(root).refused == {1: "m/1/model.onnx is not a regular file"}


def test_a_version_folder_that_leads_out_is_refused_unread(put: Put, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.onnx").write_bytes(put("m/2/model.onnx").read_bytes())
    (outside / "secret.part").touch()
    (root / "m/1").symlink_to(outside)
    found = versions_of(root)
    assert found.refused == {1: "m/1 leads out of the model repository"}
    assert list(found.complete) == [2]


def test_a_model_file_that_leads_out_is_refused(put: Put, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "model.onnx"
    put("m/2/model.onnx").rename(outside)
    (root / "m/1").mkdir()
    (root / "m/1/model.onnx").symlink_to(outside)
    assert versions_of(root).refused[1] == "m/1/model.onnx leads out of the model repository"


def test_a_repository_beside_one_whose_name_it_begins_with_is_outside(put: Put, root: Path, tmp_path: Path) -> None:
    neighbour = tmp_path / "repository-two"
    neighbour.mkdir()
    put("m/2/model.onnx")
    (root / "m/1").symlink_to(neighbour)
    assert "leads out of" in versions_of(root).refused[1]


def test_links_within_the_repository_are_followed(put: Put, root: Path) -> None:
    put("store/9/model.onnx")
    put("m/2/model.onnx")
    (root / "m/1").symlink_to("../store/9")
    (root / "m/3").mkdir()
    (root / "m/3/model.onnx").symlink_to(root / "store/9/model.onnx")
    assert versions_of(root).complete == {number: root / f"m/{number}/model.onnx" for number in (1, 2, 3)}


def test_links_that_lead_nowhere_or_in_circles_are_refused(root: Path) -> None:
    (root / "m/2").mkdir(parents=True)
    (root / "m/1").symlink_to("gone")
    (root / "m/2/model.onnx").symlink_to("model.onnx")
    (root / "m/3").symlink_to("3")
    refused = versions_of(root).refused
    assert refused[1] == "m/1 cannot be read: no such file or directory"
    assert refused[2] == "m/2/model.onnx cannot be followed: its symbolic links go in circles"
    assert refused[3] == "m/3 cannot be followed: its symbolic links go in circles"


def test_a_folder_that_may_not_be_read_is_refused_with_the_systems_reason(
    put: Put, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("m/1/model.onnx")
    put("m/2/model.onnx")
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        if path.name == "1":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    found = versions_of(root)
    assert (found.refused, list(found.complete)) == ({1: "m/1 cannot be read: permission denied"}, [2])


def test_a_file_that_may_not_be_read_is_refused_with_the_systems_reason(
    put: Put, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("m/1/model.onnx")

    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert versions_of(root).refused == {1: "m/1/model.onnx cannot be read: permission denied"}


def test_a_models_folder_that_is_gone_fails_as_a_whole(root: Path) -> None:
    with pytest.raises(LoadFailed, match=r"^m cannot be read: no such file or directory$"):
        versions_of(root)
