"""Progress: a bar where rich is installed, or a callback."""

import sys

import pytest

from shoal_client.errors import ConfigurationError
from shoal_client.progress import progress_of


def test_a_callback_hears_how_many_are_done_and_of_how_many() -> None:
    told: list[tuple[int, int | None]] = []
    for items in ([1, 2], iter([1, 2])):
        with progress_of(lambda done, total: told.append((done, total)), items, "m") as advance:
            advance()
            advance()
    assert told == [(1, 2), (2, 2), (1, None), (2, None)]


def test_a_bar_is_drawn_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_of(True, [1, 2], "digits") as advance:  # noqa: FBT003 - the one value that means a bar
        advance()
        advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert "digits" in err
    assert "2/2" in err


def test_nothing_is_said_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_of(False, [1], "m") as advance:  # noqa: FBT003 - the one value that means nothing
        advance()
    assert capsys.readouterr() == ("", "")


def test_a_bar_without_rich_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ConfigurationError, match="needs the package 'rich'"), progress_of(True, [1], "m"):  # noqa: FBT003 - see above
        pass
