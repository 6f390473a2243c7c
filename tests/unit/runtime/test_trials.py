"""Runs are timed as they would be under way together, within the time that there is."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.made_up import Execute
from shoal_server.runtime.sizing import Sizing, Trial
from shoal_server.runtime.trials import Inputs, Trials, take_turns
from shoal_server.tensors.batch import Array


class Bench:
    """Runs that take ``row_s`` for each row, on a clock of each thread; of one thread, a quarter of that by itself."""

    def __init__(self, row_s: float, most_rows: int = 1 << 20) -> None:
        self._row_s = row_s
        self._most_rows = most_rows
        self._mine = threading.local()
        self.threads: set[int] = set()

    def monotonic(self) -> float:
        return getattr(self._mine, "now_s", 0.0)

    def epoch(self) -> float:
        return self.monotonic()

    def own_s(self) -> float:
        return self.monotonic() / 4

    def execute(self, inputs: Inputs) -> list[Array]:
        assert inputs[0] is not None
        rows = len(inputs[0])
        if rows > self._most_rows:
            raise ExecutionFailed("too many rows")
        self.threads.add(threading.get_ident())
        self._mine.now_s = self.monotonic() + self._row_s * rows
        return []


def draw(rows: int) -> Inputs:
    return [np.zeros((rows, 1))]


def trials_of(bench: Bench, sizing: Sizing, most_rows: int, execute: Execute | None = None) -> Trials:
    return Trials(bench, bench.own_s, sizing, execute or bench.execute, draw, most_rows)


def tried(
    bench: Bench, sizing: Sizing, most_rows: int, until_s: float, execute: Execute | None = None
) -> Sequence[Trial]:
    trials = trials_of(bench, sizing, most_rows, execute)
    trials.begin(until_s)
    take_turns([trials], until_s)
    return trials.known


def test_a_run_on_one_thread_counts_with_its_own_time_and_with_all_that_passed() -> None:
    bench = Bench(0.01)
    first, *_ = tried(bench, Sizing(1, 1), 1, 100.0)
    assert first.rows == 1
    assert [first.run_s, first.wall_s] == pytest.approx([0.0025, 0.01])


def test_a_run_on_several_threads_counts_with_all_that_passed() -> None:
    bench = Bench(0.01)
    first, *_ = tried(bench, Sizing(1, 2), 1, 100.0)
    assert [first.run_s, first.wall_s] == pytest.approx([0.01, 0.01])


def test_as_many_runs_are_under_way_as_there_are_slots() -> None:
    bench = Bench(0.01)
    barrier = threading.Barrier(3)

    def together(inputs: Inputs) -> list[Array]:
        barrier.wait()
        return bench.execute(inputs)

    trials_of(bench, Sizing(3, 1), 1, together).begin(100.0)
    assert len(bench.threads) == 3


def test_trials_end_where_more_rows_do_not_pay() -> None:
    bench = Bench(1.0)
    assert [trial.rows for trial in tried(bench, Sizing(1, 1), 64, 1e6)] == [
        1,
        2,
        4,
    ]


def test_runs_that_met_a_busy_machine_are_timed_again_before_more_rows_are_held_not_to_pay() -> None:
    bench = Bench(1e-5)
    timed: list[int] = []

    def busy_at_first(inputs: Inputs) -> list[Array]:
        assert inputs[0] is not None
        rows = len(inputs[0])
        timed.append(rows)
        for _ in range(1 if timed.count(rows) > 2 or rows < 4 else 10):
            bench.execute(inputs)
        return []

    trials = tried(bench, Sizing(1, 1), 64, 100.0, busy_at_first)
    assert [trial.rows for trial in trials] == [1, 2, 4, 8, 16, 32, 64]
    assert [trial.wall_s for trial in trials] == pytest.approx([trial.rows * 1e-5 for trial in trials])


def test_trials_end_with_the_time_but_not_before_the_first() -> None:
    bench = Bench(1e-5)  # what a batch costs the server is more, so that more rows always pay
    assert len(tried(bench, Sizing(1, 1), 64, 0.0)) == 1
    bench = Bench(1e-5)
    rows = [trial.rows for trial in tried(bench, Sizing(1, 1), 64, 6e-4)]
    assert rows == [1, 2, 4, 8]


def test_what_the_model_refuses_ends_the_trials_unless_it_is_one_row() -> None:
    bench = Bench(1e-5, most_rows=4)
    rows = [trial.rows for trial in tried(bench, Sizing(1, 1), 64, 1.0)]
    assert rows == [1, 2, 4]
    bench = Bench(1e-5, most_rows=0)
    with pytest.raises(ExecutionFailed):
        tried(bench, Sizing(2, 1), 64, 1.0)


def test_sides_take_turns_so_that_a_busy_moment_meets_both() -> None:
    bench = Bench(1e-5)
    turns: list[str] = []

    def named(name: str) -> Execute:
        def execute(inputs: Inputs) -> Sequence[Array]:
            if turns[-1:] != [name]:
                turns.append(name)
            return bench.execute(inputs)

        return execute

    sides = [trials_of(bench, Sizing(1, threads), 2, named(name)) for threads, name in ((1, "narrow"), (2, "wide"))]
    for side in sides:
        side.begin(100.0)
    take_turns(sides, 100.0)
    assert turns == ["narrow", "wide"] * 3


def test_no_turn_is_begun_when_the_time_is_up() -> None:
    bench = Bench(1.0)
    trials = trials_of(bench, Sizing(1, 1), 1)
    trials.begin(100.0)
    take_turns([trials], bench.monotonic() + 0.5)
    assert bench.monotonic() == 2.0
