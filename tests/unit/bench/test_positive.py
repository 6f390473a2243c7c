"""What is no positive number ends a program before it has begun."""

import argparse
from collections.abc import Callable

import pytest

from shoal_bench import coalescing, mtls_ratio, swap_under_load, telemetry_ratio
from shoal_bench.positive import count, quantity


def test_positive_numbers_are_taken() -> None:
    assert (count("1"), count("64"), quantity("0.5"), quantity("2"), quantity("1e-3")) == (1, 64, 0.5, 2.0, 0.001)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "²", "1e3"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1 on is wanted, got"):
        count(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "x", "0.0"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a number above 0 is wanted, got"):
        quantity(text)


@pytest.mark.parametrize(
    "main",
    [coalescing.main, mtls_ratio.main, swap_under_load.main, telemetry_ratio.main],
    ids=lambda main: main.__module__.rpartition(".")[2],
)
def test_a_program_of_no_rounds_says_so(
    main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["program", "--rounds", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "argument --rounds: a whole number from 1 on is wanted, got '0'" in capsys.readouterr().err
