"""A version is run as its trials say, by the session that they were made with."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import RuntimeOptions
from shoal_server.runtime.made_up import Recipe
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import TimeLimit
from shoal_server.runtime.tuner import Open, Tuner
from shoal_server.tensors.batch import Array

BUDGET_S = 100.0
MOST_ROWS = 64


class Machine:
    """Four processors or so, a clock of each thread, and what a run takes by its threads and rows."""

    def __init__(self, run_s: Mapping[int, Callable[[int], float]]) -> None:
        self._run_s = run_s
        self._mine = threading.local()
        self.opened: list[FakeSession] = []

    def monotonic(self) -> float:
        return getattr(self._mine, "now_s", 0.0)

    def epoch(self) -> float:
        return self.monotonic()

    def pass_to(self, now_s: float) -> None:
        self._mine.now_s = now_s

    def open(self, threads: int) -> OrtSession:
        self.opened.append(FakeSession(self, threads, self._run_s[threads]))
        return cast(OrtSession, self.opened[-1])

    def tuner(self, budget_s: float = BUDGET_S, cpus: float = 4.0) -> Tuner:
        definition = ModelDefinition("m", {1: Path("m")}, runtime=RuntimeOptions(tuning_budget_s=budget_s))
        return Tuner(cpus, self, self.monotonic, definition, MOST_ROWS, TimeLimit(1e9))


class FakeSession:
    def __init__(self, machine: Machine, threads: int, run_s: Callable[[int], float]) -> None:
        self._machine = machine
        self.threads = threads
        self._run_s = run_s
        self.is_closed = False

    def run(self, inputs: list[Array], _limit: TimeLimit) -> list[Array]:
        assert not self.is_closed
        self._machine.pass_to(self._machine.monotonic() + self._run_s(len(inputs[0])))
        return []

    def close(self) -> None:
        self.is_closed = True


class Rows:
    """A recipe of one input with a number for each row."""

    def draw(self, _random: np.random.Generator, _profile: object, rows: int) -> list[Array]:
        return [np.zeros((rows, 1))]


def tuned(machine: Machine, open_more: Open) -> tuple[tuple[int, int], str, FakeSession]:
    tuning, session = machine.tuner().tune(machine.open(1), cast(Recipe, Rows()), open_more)
    return (tuning.slots, tuning.intra_op_threads), tuning.reason, cast(FakeSession, session)


def test_the_best_of_three_sizings_is_told_with_what_the_others_took() -> None:
    machine = Machine({1: lambda rows: 0.4 * rows, 4: lambda rows: 0.09 * rows, 2: lambda rows: 0.21 * rows})
    sizing, reason, session = tuned(machine, machine.open)
    assert (sizing, session.threads) == ((1, 4), 4)
    assert [(one.threads, one.is_closed) for one in machine.opened] == [(1, True), (4, False), (2, True)]
    assert all(other in reason for other in ("4 x 1 thread: 1: ", "1 x 4 threads: 1: ", "2 x 2 threads: 1: "))


def test_a_sizing_that_lost_before_is_not_chosen_when_another_has_no_time_for_as_many_rows() -> None:
    # With up to 64 rows the first has 97 a second and the second 94; with up to 4, for which alone the third has time,
    # they have 72 and 87, and the third 60.
    machine = Machine({1: lambda n: 0.06 + 0.04 * n, 4: lambda n: 0.004 + 0.0105 * n, 2: lambda n: 0.02 + 0.0285 * n})

    def open_more(threads: int) -> OrtSession:
        if threads == 2:
            machine.pass_to(BUDGET_S * 0.8 - 0.5)
        return machine.open(threads)

    sizing, reason, session = tuned(machine, open_more)
    assert [figure.split(":")[0] for figure in reason.partition("2 x 2 threads: ")[2].split(", ")] == ["1", "2", "4"]
    assert not session.is_closed
    assert (sizing, session.threads) == ((4, 1), 1)


def test_a_sizing_for_which_there_is_no_memory_is_left_out() -> None:
    machine = Machine({1: lambda rows: 0.4 * rows, 2: lambda rows: 0.19 * rows})

    def open_more(threads: int) -> OrtSession:
        if threads == 4:
            raise LoadFailed("no memory")
        return machine.open(threads)

    sizing, _, session = tuned(machine, open_more)
    assert (sizing, session.threads, session.is_closed) == ((2, 2), 2, False)


@pytest.mark.parametrize(("refused", "pressed_rows"), [(99, 8), (8, 4), (4, 2)])
def test_what_callers_who_wait_for_long_get_has_been_tried(refused: int, pressed_rows: int) -> None:
    def run_s(rows: int) -> float:
        if rows >= refused:
            raise ExecutionFailed("too many rows")
        return 0.1 * rows

    machine = Machine({1: run_s})
    tuning, _session = machine.tuner().tune(machine.open(1), cast(Recipe, Rows()), None)
    assert (tuning.rows, tuning.pressed_rows) == (1, pressed_rows)


def test_there_has_to_be_time_for_it() -> None:
    machine = Machine({1: lambda rows: 2.0 * rows})
    tuner = machine.tuner(budget_s=50.0, cpus=1.0)
    tuning, _session = tuner.tune(machine.open(1), cast(Recipe, Rows()), None)
    assert (tuning.rows, tuning.pressed_rows) == (1, 4), "8 rows take 16 s"
