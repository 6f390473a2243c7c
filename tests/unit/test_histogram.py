import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.histogram import Histogram


def test_a_bound_belongs_to_the_bucket_below_it_and_what_is_above_all_to_the_last() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1):
        histogram.add(value)
    assert histogram.read() == ((1.0, 2.0), (2, 2, 1), 6.6)


@given(values=st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 9))))
def test_every_value_is_in_one_bucket_and_in_the_sum(values: list[tuple[float, int]]) -> None:
    histogram = Histogram((0.5, 3.0, 1e3))
    for value, count in values:
        histogram.add(value, count)
    read = histogram.read()
    assert read.size == sum(count for _value, count in values)
    assert abs(read.total - sum(value * count for value, count in values)) <= 1e-6 * max(read.total, 1)
    assert read.counts[0] == sum(count for value, count in values if value <= 0.5)


@given(values=st.lists(st.floats(0, 1e6)))
def test_many_values_at_once_count_as_one_by_one(values: list[float]) -> None:
    one_by_one, at_once = Histogram((0.5, 3.0, 1e3)), Histogram((0.5, 3.0, 1e3))
    for value in values:
        one_by_one.add(value)
    at_once.add_all(values)
    assert at_once.read().counts == one_by_one.read().counts
    assert at_once.read().total == pytest.approx(one_by_one.read().total)


def test_histograms_of_one_kind_can_be_summed() -> None:
    first, second = Histogram((1.0,)), Histogram((1.0,))
    first.add(0.5)
    second.add(2.0, 3)
    assert first.read().plus(second.read()) == ((1.0,), (1, 3), 6.5)
