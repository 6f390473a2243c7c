from shoal_server.histogram import Buckets
from shoal_server.telemetry.delta import Deltas
from shoal_server.telemetry.figures import Figure, Kind, Point

KEY = (("model", "m"),)


def counter(value: float, since_s: float = 1.0) -> Figure:
    return Figure("count", Kind.COUNTER, "1", "", ("model",), [Point(KEY, value, since_s)])


def histogram(*counts: int, total: float) -> Figure:
    return Figure("time", Kind.HISTOGRAM, "s", "", ("model",), [Point(KEY, Buckets((1.0,), counts, total), 1.0)])


def test_the_first_time_all_since_the_start_is_told_and_then_what_is_new() -> None:
    deltas = Deltas()
    assert deltas.since_last([counter(5)], 10.0)[0].points == [Point(KEY, 5, 1.0)]
    assert deltas.since_last([counter(7)], 20.0)[0].points == [Point(KEY, 2, 10.0)]
    assert deltas.since_last([counter(7)], 30.0) == []
    assert deltas.since_last([counter(8)], 40.0)[0].points == [Point(KEY, 1, 30.0)]


def test_histograms_are_subtracted_bucket_by_bucket() -> None:
    deltas = Deltas()
    deltas.since_last([histogram(1, 2, total=6.0)], 10.0)
    (figure,) = deltas.since_last([histogram(3, 2, total=7.0)], 20.0)
    assert figure.points == [Point(KEY, Buckets((1.0,), (2, 0), 1.0), 10.0)]
    assert deltas.since_last([histogram(3, 2, total=7.0)], 30.0) == []


def test_a_count_that_began_anew_is_told_whole() -> None:
    deltas = Deltas()
    deltas.since_last([counter(5)], 10.0)
    assert deltas.since_last([counter(2, since_s=15.0)], 20.0)[0].points == [Point(KEY, 2, 15.0)]


def test_levels_are_told_as_they_are() -> None:
    deltas = Deltas()
    level = Figure("inside", Kind.LEVEL, "1", "", (), [Point((), 3, 1.0)])
    assert deltas.since_last([level], 10.0) == [level]
    assert deltas.since_last([level], 20.0) == [level]
