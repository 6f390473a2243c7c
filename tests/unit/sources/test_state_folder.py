"""What is written to the state folder is read again, whole, or refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.errors import LoadFailed, PreconditionFailed
from shoal_server.lifecycle.desired import Desired, stopped
from shoal_server.sources import state_text
from shoal_server.sources.state_folder import StateFolder, default_state

NUMBERS = st.integers(1, (1 << 63) - 1)
WANTED = st.builds(
    lambda versions, current, previous, labels: Desired(
        None if versions is None else tuple(sorted(versions)), None if versions is None else current, previous, labels
    ),
    st.none() | st.sets(NUMBERS),
    st.just(0) | NUMBERS,
    st.none() | NUMBERS,
    st.dictionaries(st.text(), NUMBERS),
)
SOME = {"m": Desired((1, 2), 2, 1, {"blue": 1}), "é\n": stopped()}


@given(st.dictionaries(st.text(), WANTED))
def test_a_text_says_what_was_written(desired: dict[str, Desired]) -> None:
    assert state_text.read(state_text.written(desired)) == desired


@pytest.mark.parametrize(
    "entry",
    [
        "1",
        "{}",
        '{"versions": [1], "current": 1, "previous": null, "labels": {}, "more": 1}',
        '{"versions": [0], "current": 0, "previous": null, "labels": {}}',
        '{"versions": [true], "current": 0, "previous": null, "labels": {}}',
        '{"versions": [1], "current": null, "previous": null, "labels": {}}',
        '{"versions": null, "current": 1, "previous": null, "labels": {}}',
        '{"versions": [1], "current": 1, "previous": "1", "labels": {}}',
        '{"versions": [1], "current": 1, "previous": null, "labels": {"a": 0}}',
        '{"versions": [1], "current": 1, "previous": null, "labels": []}',
        '{"versions": [1], "current": 1, "previous": null, "labels": {"\\ud800": 1}}',
    ],
)
def test_a_text_that_is_not_wholly_understood_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="model 'm'"):
        state_text.read('{"format": 1, "models": {"m": ' + entry + "}}")


def test_a_text_with_a_name_that_no_message_could_carry_is_refused() -> None:
    entry = '{"versions": [1], "current": 1, "previous": null, "labels": {}}'
    with pytest.raises(ValueError, match="no text"):
        state_text.read('{"format": 1, "models": {"\\ud800": ' + entry + "}}")


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    store = StateFolder(tmp_path / ".shoal", required=False)
    assert store.read() == {}
    assert not list(tmp_path.iterdir())
    store.write(SOME)
    store.write(SOME)
    store.close()
    assert StateFolder(tmp_path / ".shoal", required=False).read() == SOME
    assert sorted(path.name for path in (tmp_path / ".shoal").iterdir()) == ["desired.json", "lock"]


def test_a_second_server_writes_when_the_first_has_ended(tmp_path: Path) -> None:
    first, second = (StateFolder(tmp_path, required=False) for _ in range(2))
    first.write(SOME)
    with pytest.raises(PreconditionFailed, match="another server uses it"):
        second.write({})
    assert second.read() == SOME
    first.close()
    second.write({})
    assert first.read() == {}
    second.close()


def test_a_folder_that_was_taken_away_is_made_again_and_locked(tmp_path: Path) -> None:
    folder = tmp_path / ".shoal"
    first, second = (StateFolder(folder, required=False) for _ in range(2))
    first.write(SOME)
    folder.rename(tmp_path / "elsewhere")
    first.write({})
    assert second.read() == {}
    with pytest.raises(PreconditionFailed):
        second.prepare()
    first.close()


def test_where_the_models_have_gone_nothing_comes_back_in_their_place(tmp_path: Path) -> None:
    store = StateFolder(tmp_path / "models" / ".shoal", required=False)
    with pytest.raises(PreconditionFailed, match="no such file"):
        store.write(SOME)
    assert not list(tmp_path.iterdir())
    named = StateFolder(tmp_path / "some" / "where", required=True)
    named.prepare()
    named.close()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateFolder(tmp_path, required=False)
    store.write(SOME)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PreconditionFailed, match="no space left on device"):
        store.write({})
    assert store.read() == SOME
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desired.json", "lock"]
    store.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"format": \xff', "it is not UTF-8 text from byte 11 on"),
        (b"", "it is no JSON from line 1, column 1 on"),
        (b'{\n "format": oh}', "it is no JSON from line 2, column 12 on"),
        (b"[" * 100_000, "it is nested too deep"),
        (b'{"format": ' + b"9" * 5000 + b"}", "it has a number of too many digits"),
        (b'{"format": 2, "models": {}}', "it has format 2, and this server knows 1"),
    ],
    ids=["no UTF-8", "empty", "no JSON", "deep", "long", "later"],
)
def test_a_file_that_cannot_be_understood_is_refused_in_a_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "desired.json"
    path.write_bytes(data)
    with pytest.raises(LoadFailed) as failure:
        StateFolder(tmp_path, required=False).read()
    assert str(failure.value).startswith(
        f"{path}, which says which versions operators want, cannot be used: {reason}. "
    )
    assert "Put a good copy in its place" in str(failure.value)


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "is a directory"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
    ids=["a pipe", "a folder", "a link to itself"],
)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, put: Callable[[Path], None], reason: str) -> None:
    put(tmp_path / "desired.json")
    with pytest.raises(LoadFailed, match=f"desired.json.*{reason}"):
        StateFolder(tmp_path, required=False).read()


def test_by_default_the_state_lies_in_the_models_folder_or_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.touch()
    assert default_state(tmp_path) == default_state(file) == tmp_path / ".shoal"


def test_a_pipe_in_the_place_of_the_file_is_refused_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "desired.json")
    with pytest.raises(LoadFailed, match=r"desired\.json.* cannot be used: it is not a regular file"):
        StateFolder(tmp_path, required=False).read()


def test_what_lies_in_the_way_of_a_write_is_neither_waited_for_nor_written_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    folder = tmp_path / ".shoal"
    folder.mkdir()
    store = StateFolder(folder, required=False)
    os.mkfifo(folder / "desired.json.new")
    store.write(SOME)
    (folder / "desired.json.new").symlink_to(elsewhere)
    store.write({})
    assert store.read() == {}
    assert not (folder / "desired.json").is_symlink()
    assert elsewhere.read_text() == "untouched"
    store.close()
