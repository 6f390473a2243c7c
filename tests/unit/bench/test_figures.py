from collections import Counter
from typing import Any

import pytest

from shoal_bench.drawing import draw, page
from shoal_bench.figures import Figure, Line, figures
from shoal_bench.histogram import Durations
from shoal_bench.result import Run, Window
from shoal_bench.tally import NOT_SENT, OK, Tally


def window(latency_s: float, *, not_sent: int = 0) -> Window:
    latencies = Durations()
    for _ in range(100):
        latencies.record(latency_s)
    return Window(Tally(2.0, Counter({OK: 100, NOT_SENT: not_sent}), 100, latencies), batches=Counter({1: 3, 4: 1}))


def run_record(rate: float, latency_s: float, *, not_sent: int = 0) -> dict[str, Any]:
    run = Run(2, [window(latency_s, not_sent=not_sent), window(latency_s)])
    return {"kind": "run", "run": {"scenario": {"load": {"rate": rate}}, **run.to_json()}}


def named(found: list[Figure], start: str) -> Figure:
    return next(figure for figure in found if figure.title.startswith(start))


def test_a_run_is_drawn_as_percentiles_throughput_and_batch_sizes() -> None:
    found = figures({"a": run_record(50, 0.01)})
    assert named(found, "Throughput").lines == [Line("a", [2.0, 4.0], [50.0, 50.0])]
    assert named(found, "Batch").lines == [Line("a", [1, 4], [0.75, 0.25])]
    curve = named(found, "Latency percentiles").lines[0]
    assert curve.y == pytest.approx([10.0] * len(curve.y), rel=1e-3)
    assert max(curve.x) == pytest.approx(200), "200 calls tell nothing beyond p99.5"
    assert not any(figure.title.startswith("Latency against") for figure in found), "one rate is no curve"


def test_several_rates_are_a_curve_without_what_the_generator_limited() -> None:
    records = {"a": run_record(50, 0.01), "b": run_record(100, 0.02), "c": run_record(200, 0.5, not_sent=3)}
    found = figures(records)
    median = named(found, "Latency against").lines[0]
    assert list(median.x) == [50, 100]
    assert list(median.y) == pytest.approx([10, 20], rel=1e-3)
    assert [line.name for line in named(found, "Throughput").lines] == ["a", "b", "c (generator's limit)"]


def test_the_trials_of_a_search_are_a_curve() -> None:
    trials = [{"rate": rate, **run_record(rate, 0.01)["run"]} for rate in (10, 20)]
    assert named(figures({"s": {"kind": "capacity", "trials": trials}}), "Latency against").lines[0].x == [10, 20]


def test_a_record_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="`micro` has nothing to plot"):
        figures({"m": {"kind": "micro"}})


def test_nothing_is_drawn_where_nothing_succeeded() -> None:
    assert figures({"a": {"kind": "run", "run": {"scenario": {"load": {}}, **Run(2).to_json()}}}) == []


@pytest.mark.parametrize("bars", [True, False])
def test_a_figure_is_drawn_as_png(bars: bool) -> None:  # noqa: FBT001
    figure = Figure("T", "x", "y", [Line("a", [1, 2], [3, 4])], log_x=not bars, log_y=not bars, bars=bars)
    assert draw(figure).startswith(b"\x89PNG")


def test_the_page_needs_nothing_else_and_quotes_what_it_is_given() -> None:
    text = page({"<T>": b"png"}, {"a<b": {"kind": "run", "machine": {"cpu": "fast & cheap"}}})
    assert "data:image/png;base64,cG5n" in text
    assert "&lt;T&gt;" in text
    assert "a&lt;b" in text
    assert "fast &amp; cheap" in text
    assert "http" not in text
    assert "<script" not in text
