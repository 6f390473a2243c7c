import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed, NotFound
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.sources import FolderSource, SingleSource, open_source

Put = Callable[..., Path]


def the_one(path: Path) -> ModelDefinition:
    found = open_source(path).scan()
    (what,) = found.values()
    assert isinstance(what, ModelDefinition), what
    assert list(found) == [what.name]
    return what


def test_a_file_is_version_1_of_a_model_called_as_the_file(put: Put) -> None:
    path = put("bert-base.onnx")
    assert the_one(path) == ModelDefinition("bert-base", {1: path})
    assert open_source(path).describe("bert-base") == the_one(path)


def test_configuration_beside_a_lone_file_is_not_read(put: Put) -> None:
    path = put("x.onnx")
    put("config.pbtxt", "max_batch_size: 4")
    put("model.toml", "[batching]\nmax_rows = 2")
    assert the_one(path).batching.max_rows == 64


def test_a_file_in_tritons_layout_is_that_version_of_its_model_with_its_configuration(put: Put) -> None:
    path = put("m/3/model.onnx")
    put("m/4/model.onnx")
    put("m/config.pbtxt", "max_batch_size: 4 version_policy { specific { versions: [4] } }")
    definition = the_one(path)
    assert (definition.name, definition.versions, definition.wanted) == ("m", {3: path}, (3,))
    assert (definition.batching.rows_limit, definition.policy) == (4, VersionPolicy())


def test_a_file_of_another_name_in_tritons_layout_is_the_one_that_was_named(put: Put) -> None:
    put("m/3/model.onnx")
    path = put("m/3/fp16.onnx")
    assert the_one(path).versions == {3: path}


def test_a_folder_with_versions_is_one_model(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    path = put("m/2/model.onnx")
    definition = the_one(root / "m")
    assert (definition.name, definition.wanted, definition.versions[2]) == ("m", (2,), path)


@pytest.mark.parametrize("file_name", ["config.pbtxt", "model.toml"])
def test_a_folder_with_a_configuration_is_one_model(put: Put, root: Path, file_name: str) -> None:
    put(f"m/{file_name}", "")
    source = open_source(root / "m")
    assert isinstance(source, SingleSource)
    assert str(source.scan()["m"]) == "no version of model 'm' can be served: wanted m/1/model.onnx"


def test_complaints_about_one_models_folder_name_it(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/config.pbtxt", "nam: 'm'")
    assert str(open_source(root / "m").scan()["m"]) == (
        "m/config.pbtxt: line 1, column 1: ModelConfig has no field 'nam'; did you mean 'name'?"
    )


def test_the_working_folder_is_a_model_called_as_it_is(put: Put, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("m/1/model.onnx")
    monkeypatch.chdir(root / "m/1")
    assert the_one(Path("..")).name == "m"
    assert the_one(Path("model.onnx")).name == "m"
    monkeypatch.chdir(root / "m")
    assert the_one(Path()).name == "m"


def test_models_that_are_called_by_numbers_are_a_repository(put: Put, root: Path) -> None:
    put("1/1/model.onnx")
    assert isinstance(open_source(root), FolderSource)
    assert list(open_source(root).scan()) == ["1"]


def test_an_empty_folder_is_a_repository(root: Path) -> None:
    assert isinstance(open_source(root), FolderSource)


def test_a_single_model_knows_no_other_name(put: Put) -> None:
    with pytest.raises(NotFound, match=r"^unknown model 'y'$"):
        open_source(put("x.onnx")).describe("y")


def test_a_missing_path_says_what_is_wanted(tmp_path: Path) -> None:
    wanted = r"none does not exist, wanted a model repository \(a folder of NAME/1/model\.onnx\) or a model file$"
    with pytest.raises(LoadFailed, match=wanted):
        open_source(tmp_path / "none")


def test_a_folder_with_only_a_model_file_says_what_to_serve_instead(put: Put, root: Path) -> None:
    path = put("model.onnx")
    put("tokenizer.json", "{}")
    with pytest.raises(LoadFailed) as raised:
        open_source(root)
    assert str(raised.value) == f"{root} has a model.onnx and no models in folders: serve {path} instead"


def test_what_is_neither_folder_nor_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadFailed, match=r"pipe is neither a folder nor a regular file$"):
        open_source(tmp_path / "pipe")


def test_a_path_that_may_not_be_read_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(LoadFailed, match=r"repository cannot be read: permission denied$"):
        open_source(root)


def test_a_lone_file_that_went_away_or_is_no_model_has_a_reason(put: Put) -> None:
    path = put("x.onnx", b"")
    source = open_source(path)
    assert str(source.scan()["x"]) == f"{path} is empty"
    path.unlink()
    with pytest.raises(LoadFailed, match=r"x\.onnx is gone$"):
        source.describe("x")
    path.mkdir()
    with pytest.raises(LoadFailed, match=r"x\.onnx is no file$"):
        source.describe("x")


def test_a_lone_file_may_be_a_link(put: Put, tmp_path: Path) -> None:
    link = tmp_path / "linked.onnx"
    link.symlink_to(put("blobs/0123"))
    assert the_one(link) == ModelDefinition("linked", {1: link})


def test_a_file_in_a_folder_that_may_not_be_entered_has_the_systems_reason(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(put("x.onnx"))

    def denied(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", denied)
    assert str(source.scan()["x"]).endswith("x.onnx cannot be read: permission denied")


def test_a_file_that_may_not_be_read_has_the_systems_reason(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(put("x.onnx"))

    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert str(source.scan()["x"]).endswith("x.onnx cannot be read: permission denied")
