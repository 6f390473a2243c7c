import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_bench.stability import spread, stable


@pytest.mark.parametrize(
    ("throughputs", "medians_s", "expected"),
    [
        ([], [], False),
        ([100, 100], [1, 1], False),
        ([100, 100, 100], [1, 1, 1], True),
        ([50, 100, 105, 109], [9, 1, 1, 1], True),  # only the last three count
        ([100, 105, 111], [1, 1, 1], False),
        ([100, 100, 100], [1.0, 1.0, 1.2], False),  # as many answers, each later: a queue grows
        ([0, 0, 0], [0, 0, 0], False),  # that nothing succeeds is no agreement
        ([100, 0, 100], [1, 0, 1], False),
    ],
)
def test_windows_agree_when_the_last_three_do(throughputs: list[float], medians_s: list[float], expected: bool) -> None:  # noqa: FBT001
    assert stable(throughputs, medians_s) is expected


@given(st.lists(st.floats(0.001, 1e6), min_size=1), st.floats(0.01, 100))
def test_the_spread_does_not_depend_on_the_unit(values: list[float], factor: float) -> None:
    assert spread([value * factor for value in values]) == pytest.approx(spread(values), rel=1e-6, abs=1e-9)


def test_the_spread_over_nothing_is_infinite() -> None:
    assert spread([0.0, 1.0]) == float("inf")
    assert spread([0.0, 0.0]) == 0.0
