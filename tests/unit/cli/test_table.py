import io
import sys

import pytest

from shoal_server.cli.table import print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_aligned_text_with_nothing_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "WHY"), [("a", "b" * 200), ("longer", "")])
    assert capsys.readouterr().out == f"NAME    WHY\na       {'b' * 200}\nlonger\n"


def test_no_rows_are_only_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "WHY"), [])
    assert capsys.readouterr().out == "NAME  WHY\n"


def test_on_a_terminal_what_looks_like_markup_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("NAME",), [("x FP32[-1, 2] [red]",)])
    assert "x FP32[-1, 2] [red]" in terminal.getvalue()
