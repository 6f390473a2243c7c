import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed, NotFound
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.sources import FolderSource

Put = Callable[..., Path]


def reasons(found: Mapping[str, ModelDefinition | LoadFailed]) -> dict[str, str]:
    return {name: str(what) for name, what in found.items() if isinstance(what, LoadFailed)}


def served(found: Mapping[str, ModelDefinition | LoadFailed]) -> dict[str, tuple[int, ...]]:
    return {name: what.wanted for name, what in found.items() if isinstance(what, ModelDefinition)}


def test_a_repository_without_any_configuration_serves_the_newest_version_of_each_model(put: Put, root: Path) -> None:
    put("a/1/model.onnx")
    two = put("a/2/model.onnx")
    put("b/7/model.onnx")
    found = FolderSource(root).scan()
    assert served(found) == {"a": (2,), "b": (7,)}
    assert found["a"] == ModelDefinition("a", {1: root / "a/1/model.onnx", 2: two})


def test_describe_says_what_scan_says(put: Put, root: Path) -> None:
    put("a/1/model.onnx")
    put("a/config.pbtxt", "max_batch_size: 4")
    source = FolderSource(root)
    assert source.describe("a") == source.scan()["a"]


def test_an_empty_repository_has_no_models(root: Path) -> None:
    assert FolderSource(root).scan() == {}


def test_files_and_hidden_folders_at_the_top_are_no_models(put: Put, root: Path) -> None:
    for name in ("README.md", ".git/1/model.onnx", "..data/1/model.onnx", "lost+found/1/model.onnx"):
        put(name)
    (root / "link-to-a-file").symlink_to("README.md")
    assert FolderSource(root).scan() == {}


def test_a_missing_repository_cannot_be_read(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "none")
    with pytest.raises(LoadFailed, match=r"^model repository .*none cannot be read: no such file or directory$"):
        source.scan()
    with pytest.raises(LoadFailed, match=r"^model 'm' cannot be read: no such file or directory$"):
        source.describe("m")


def test_a_file_in_place_of_the_repository_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoadFailed, match=r"cannot be read: not a directory$"):
        FolderSource(tmp_path / "file").scan()


def test_one_broken_model_leaves_the_others_unharmed(put: Put, root: Path) -> None:
    put("good/1/model.onnx")
    put("empty/1/model.onnx", b"")
    put("text/config.pbtxt", "name: ")
    put("latin/config.pbtxt", "name: '\u00e9'".encode("latin-1"))
    put("toml/model.toml", "batching = 1")
    put("folder/config.pbtxt/x")
    put("big/config.pbtxt", b" " * ((1 << 20) + 1))
    (root / "bare").mkdir()
    found = FolderSource(root).scan()
    assert served(found) == {"good": (1,)}
    assert reasons(found) == {
        "bare": "no version of model 'bare' can be served: wanted bare/1/model.onnx",
        "big": "big/config.pbtxt has 1048577 bytes, wanted at most 1048576",
        "empty": "no version of model 'empty' can be served: wanted empty/1/model.onnx; empty/1/model.onnx is empty",
        "folder": "folder/config.pbtxt is a folder, wanted a file",
        "latin": "latin/config.pbtxt is not UTF-8 text: invalid continuation byte at byte 7",
        "text": "text/config.pbtxt: line 1, column 7: Expected string; found nothing more",
        "toml": "toml/model.toml: 'batching' is 1, wanted a table, [batching]",
    }


def test_an_incomplete_newer_version_leaves_the_older_one_wanted(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/2/model.onnx", b"")
    definition = FolderSource(root).describe("m")
    assert definition.wanted == (1,)
    assert definition.refused == {2: "m/2/model.onnx is empty"}
    assert definition.warnings == ("version 2 of 'm' is not served: m/2/model.onnx is empty",)


def test_specific_versions_that_are_not_there_are_warned_about(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/config.pbtxt", "version_policy { specific { versions: [1, 3] } }")
    definition = FolderSource(root).describe("m")
    assert definition.policy == VersionPolicy(latest=0, specific=(1, 3))
    assert (definition.wanted, definition.warnings) == ((1,), ("version 3 of 'm' is asked for and not there",))


def test_a_model_none_of_whose_wanted_versions_is_there_fails(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/config.pbtxt", "version_policy { specific { versions: [3] } }")
    with pytest.raises(LoadFailed, match=r"^no version of \[3\] of model 'm' can be served: wanted m/3/model\.onnx$"):
        FolderSource(root).describe("m")


def test_the_owners_file_name_is_the_one_that_is_wanted(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/config.pbtxt", "default_model_filename: 'net.onnx'")
    with pytest.raises(LoadFailed, match=r"wanted m/1/net\.onnx; m/1 has no net\.onnx; it has 'model\.onnx'$"):
        FolderSource(root).describe("m")
    path = put("m/1/net.onnx")
    assert FolderSource(root).describe("m").versions == {1: path}


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../outside",
        "a/../a",
        "a/1",
        "/etc",
        "a\x00",
        "a\n",
        "\udcff",
        "x" * 10_240,
        ".hidden",
        "lost+found",
    ],
)
def test_a_name_that_no_model_has_is_not_found_and_nothing_outside_is_touched(
    put: Put, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put("a/1/model.onnx")
    put(".hidden/1/model.onnx")
    put("lost+found/1/model.onnx")
    (tmp_path / "outside/1").mkdir(parents=True)
    (tmp_path / "outside/1/model.onnx").write_bytes(b"\x08\x08")

    def touched(*args: object, **_: object) -> None:
        raise AssertionError(f"the file system was asked about {args}")

    source = FolderSource(root)
    with monkeypatch.context() as patched:
        for call in ("stat", "lstat", "listdir", "scandir", "open"):
            patched.setattr(os, call, touched)
        with pytest.raises(NotFound) as raised:
            source.describe(name)
    assert str(raised.value).startswith("unknown model ")
    assert len(str(raised.value)) < 150


def test_a_model_that_is_not_there_is_not_found(put: Put, root: Path) -> None:
    put("file")
    source = FolderSource(root)
    for name in ("none", "file"):
        with pytest.raises(NotFound, match=f"^unknown model '{name}'$"):
            source.describe(name)


@pytest.mark.parametrize(("name", "shown"), [("a\x07b", "a\\x07b"), (" a", " a"), ("a\\b", "a\\\\b")])
def test_a_folder_that_no_model_may_be_called_is_listed_escaped_with_the_reason(
    put: Put, root: Path, name: str, shown: str
) -> None:
    put(f"{name}/1/model.onnx")
    found = reasons(FolderSource(root).scan())
    assert list(found) == [shown]
    assert found[shown].startswith(f"folder '{shown}' is no model: it ")


def test_a_folder_whose_name_is_no_text_is_listed_escaped_with_the_reason(root: Path) -> None:
    (root / os.fsdecode(b"\xff")).mkdir()
    assert reasons(FolderSource(root).scan()) == {
        "\\udcff": "folder '\\udcff' is no model: it has characters that cannot be printed"
    }


def test_a_repository_that_is_a_link_is_served_and_may_be_pointed_elsewhere(
    put: Put, root: Path, tmp_path: Path
) -> None:
    put("m/1/model.onnx")
    link = tmp_path / "current"
    link.symlink_to(root)
    source = FolderSource(link)
    assert served(source.scan()) == {"m": (1,)}
    other = tmp_path / "other"
    (other / "m").mkdir(parents=True)
    (root / "m/1").rename(other / "m/2")
    link.unlink()
    link.symlink_to(other)
    assert served(source.scan()) == {"m": (2,)}
    assert source.describe("m").versions == {2: link / "m/2/model.onnx"}


def test_a_model_that_leads_out_of_the_repository_is_refused(put: Put, root: Path, tmp_path: Path) -> None:
    put("a/1/model.onnx")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "b").symlink_to(outside)
    found = FolderSource(root).scan()
    assert served(found) == {"a": (1,)}
    assert reasons(found) == {"b": "b leads out of the model repository"}


def test_configuration_that_leads_out_of_the_repository_is_refused_unread(put: Put, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("name: 'secret'")
    for model, file_name in (("a", "config.pbtxt"), ("b", "model.toml")):
        put(f"{model}/1/model.onnx")
        (root / model / file_name).symlink_to(outside)
    assert reasons(FolderSource(root).scan()) == {
        "a": "a/config.pbtxt leads out of the model repository",
        "b": "b/model.toml leads out of the model repository",
    }


def test_a_model_that_is_another_by_a_link_has_its_own_name(put: Put, root: Path) -> None:
    put("a/1/model.onnx")
    (root / "alias").symlink_to("a")
    assert served(FolderSource(root).scan()) == {"a": (1,), "alias": (1,)}


def test_a_link_that_leads_nowhere_is_listed_with_the_reason(root: Path) -> None:
    (root / "m").symlink_to("gone")
    assert reasons(FolderSource(root).scan()) == {"m": "m cannot be read: no such file or directory"}
    with pytest.raises(LoadFailed, match=r"^m cannot be read: no such file or directory$"):
        FolderSource(root).describe("m")


def test_a_relative_repository_is_served(put: Put, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("m/1/model.onnx")
    monkeypatch.chdir(root)
    assert FolderSource(Path()).describe("m").versions == {1: root / "m/1/model.onnx"}


def test_our_options_are_stronger_than_tritons_one_by_one(put: Put, root: Path) -> None:
    put("m/1/model.onnx")
    put("m/2/model.onnx")
    put(
        "m/config.pbtxt",
        "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 500 preferred_batch_size: [2, 8] }"
        "version_policy { all {} } instance_group { count: 3 }",
    )
    put("m/model.toml", "[batching]\nmax_rows = 4\n[runtime]\nintra_op_threads = 2\n[versions]\nlatest = 1\n")
    definition = FolderSource(root).describe("m")
    batching, runtime = definition.batching, definition.runtime
    assert definition.wanted == (2,)
    assert (batching.max_rows, batching.rows_limit, batching.delay_s, batching.preferred_rows) == (4, 8, 0.0005, (2,))
    assert (runtime.instances, runtime.intra_op_threads) == (3, 2)
