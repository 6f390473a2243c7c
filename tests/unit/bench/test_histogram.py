import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_bench.histogram import Durations

SECONDS = st.lists(st.floats(1e-6, 3000), max_size=50)


def of(durations: list[float]) -> Durations:
    histogram = Durations()
    for duration in durations:
        histogram.record(duration)
    return histogram


@given(st.lists(st.floats(0.01, 3000), min_size=1, max_size=50), st.floats(0, 1))
def test_a_percentile_is_one_of_the_durations_to_three_digits(durations: list[float], share: float) -> None:
    found = of(durations).percentile_s(share)
    assert min(abs(found - duration) / duration for duration in durations) < 2e-3


@settings(max_examples=15)
@given(SECONDS, SECONDS)
def test_two_histograms_added_are_the_histogram_of_both(some: list[float], others: list[float]) -> None:
    added = of(some)
    added.add(of(others))
    both = of(some + others)
    assert added.count == both.count == len(some) + len(others)
    assert [added.percentile_s(share / 4) for share in range(5)] == [both.percentile_s(share / 4) for share in range(5)]


@settings(max_examples=20)
@given(SECONDS)
def test_a_histogram_survives_its_text(durations: list[float]) -> None:
    histogram = of(durations)
    again = Durations.from_text(histogram.to_text())
    assert (again.count, again.max_s, again.percentile_s(0.5)) == (
        histogram.count,
        histogram.max_s,
        histogram.percentile_s(0.5),
    )


def test_what_is_out_of_range_counts_as_the_nearest_that_is_in_it() -> None:
    histogram = of([-1.0, 0.0, 1e6])
    assert histogram.count == 3
    assert histogram.percentile_s(0.0) == 1e-6
    assert histogram.max_s == pytest.approx(3600, rel=1e-3)


def test_an_empty_histogram_is_all_zero() -> None:
    histogram = Durations()
    assert (histogram.count, histogram.max_s, histogram.percentile_s(0.99)) == (0, 0.0, 0.0)


@pytest.mark.parametrize("text", ["", "no histogram", "SElTVA=="])
def test_a_text_that_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no HdrHistogram"):
        Durations.from_text(text)
