"""How a version is best run, found out by running it in one way after the other."""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, NamedTuple, Protocol

import numpy as np

from shoal_server.clock import Clock
from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import Tuning
from shoal_server.runtime.made_up import Profile, Recipe
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import TimeLimit
from shoal_server.runtime.sizing import (
    QUICK_S,
    Sizing,
    Trial,
    better,
    sized,
    tuned,
    untried,
    worth_reaching,
    worth_trying,
)
from shoal_server.runtime.trials import Inputs, Trials, take_turns
from shoal_server.runtime.variable_lengths import Varying
from shoal_server.runtime.within import OutOfTimeError, within

_RUNS: Final = 4
_BEYOND: Final = 0.2  # of the time, kept for rows that only those have who wait for long
_COST_BUDGET_S: Final = 0.1  # after which no larger batch is tried for what it takes


class Open(Protocol):
    """Opens a session of the model with so many threads."""

    def __call__(self, threads: int) -> OrtSession:
        """Open one.

        Raises:
            LoadFailed: it cannot be served.
        """
        ...


class _Side(NamedTuple):
    session: OrtSession
    trials: Trials


class Tuner:
    """Tries one version in its possible sizings, within its owner's budget."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that bounds the trials
        self,
        cpus: float,
        clock: Clock,
        own_s: Callable[[], float],
        definition: ModelDefinition,
        most_rows: int,
        limit: TimeLimit,
    ) -> None:
        self._cpus = cpus
        self._clock = clock
        self._own_s = own_s
        self._threads = definition.runtime.intra_op_threads
        self._budget_s = definition.runtime.tuning_budget_s
        self._padded = definition.batching.padded
        self._options = definition.batching
        self._most_rows = most_rows
        self._limit = limit
        self._made: list[Trials] = []
        self._beyond: list[Trial] = []

    def timings(self, tuning: Tuning) -> tuple[tuple[int, float], ...]:
        """Return what runs of the chosen sizing took."""
        chosen = Sizing(tuning.slots, tuning.intra_op_threads)
        return tuple((trial.rows, trial.wall_s) for trial in [*self._known, *self._beyond] if trial.sizing == chosen)

    @property
    def _known(self) -> list[Trial]:
        return [trial for trials in self._made for trial in trials.known]

    def timings_of(self, session: OrtSession, recipe: Recipe, rows: int) -> tuple[tuple[int, float], ...]:
        """Return what a run of so many rows takes, if that can be known."""
        inputs = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, rows)
        try:
            return ((rows, self._shortest_s(session, inputs)),)
        except (ExecutionFailed, OutOfTimeError):
            return ()

    def timings_by_length(self, session: OrtSession, varying: Varying) -> tuple[tuple[int, float], ...]:
        """Return padded cells and seconds of batches, as many as there is time for."""
        timings: list[tuple[int, float]] = []
        ends_s = self._clock.monotonic() + _COST_BUDGET_S
        try:
            for batch in varying.batches(self._options, self._most_rows):
                inputs = batch.recipe.draw(np.random.default_rng(0), Profile.ORDINARY, batch.rows)
                timings.append((batch.cells, self._shortest_s(session, inputs, enough_s=0.0)))
                if self._clock.monotonic() >= ends_s:
                    break
        except (ExecutionFailed, OutOfTimeError):
            pass  # what was measured so far still holds
        return tuple(timings)

    def tune(self, session: OrtSession, recipe: Recipe, open_more: Open | None) -> tuple[Tuning, OrtSession]:
        """Return the best that could be found within the budget, and its session."""
        own = sized(self._cpus, self._threads or 1)
        if not self._budget_s:
            return untried(own, "nothing was to be tried"), session

        def draw(rows: int) -> Inputs:
            return recipe.draw(np.random.default_rng(0), Profile.ORDINARY, self._padded(rows))

        def side(opened: OrtSession, sizing: Sizing) -> _Side:
            execute = within(self._limit, opened)
            self._made.append(Trials(self._clock, self._own_s, sizing, execute, draw, self._most_rows))
            return _Side(opened, self._made[-1])

        budget_s = self._budget_s * (1 - _BEYOND)
        ends_s = self._clock.monotonic() + budget_s
        try:
            alone_s = self._shortest_s(session, draw(1), until_s=ends_s)
            full_s = self._shortest_s(session, draw(self._most_rows), until_s=ends_s) if alone_s <= QUICK_S else inf
            if full_s <= QUICK_S:
                small = side(session, own if self._threads else Sizing(1, 1)).trials
                small.begin(ends_s)
                take_turns([small], ends_s)
                why = f"a batch of {self._most_rows} rows is over in {full_s * 1e6:.0f} us"
                return untried(small.sizing, why), session
            sizings = [own] if self._threads or open_more is None else [*worth_trying(self._cpus, alone_s)]
            best = side(session, own)
            best.trials.begin(ends_s - budget_s * (1 - 1 / len(sizings)))
            if len(sizings) == 1:
                take_turns([best.trials], ends_s)
        except (ExecutionFailed, OutOfTimeError) as error:
            return untried(own, f"not measured: {error}" if str(error) else "its runs take too long"), session
        for left, sizing in zip(range(len(sizings) - 2, -1, -1), sizings[1:], strict=True):
            assert open_more is not None, "that is why there is more than one sizing"
            with suppress(LoadFailed):  # there is no memory for two, say
                other = side(open_more(sizing.intra_op_threads), sizing)
                best = self._better(best, other, ends_s - budget_s * left / len(sizings))
        return self._told(best.trials, ends_s + self._budget_s * _BEYOND), best.session

    def _told(self, best: Trials, until_s: float) -> Tuning:
        """Return how the best sizing is run, after a look at more rows, for callers who wait for long."""
        rows = tuned(best.sizing, self._known, self._most_rows).rows
        with suppress(OutOfTimeError):
            self._beyond = best.beyond(worth_reaching(rows, self._most_rows), until_s)
        return tuned(best.sizing, self._known, self._most_rows, self._beyond)

    def _better(self, best: _Side, other: _Side, until_s: float) -> _Side:
        """Try another sizing, and in turn with it the best so far; return the better, and close the other."""
        with suppress(ExecutionFailed, OutOfTimeError):
            other.trials.begin(until_s)
            take_turns([best.trials, other.trials], until_s)
        if better([*best.trials.known, *other.trials.known], self._most_rows) == other.trials.sizing:
            best, other = other, best
        other.session.close()
        return best

    def _shortest_s(
        self, session: OrtSession, inputs: Inputs, enough_s: float = QUICK_S, until_s: float = inf
    ) -> float:
        """Return what the shortest of some runs took, in seconds; of one where there is no time for more."""
        execute = within(self._limit, session)
        shortest_s = inf
        for _ in range(_RUNS):
            start_s = self._clock.monotonic()
            execute(inputs)
            ended_s = self._clock.monotonic()
            shortest_s = min(shortest_s, ended_s - start_s)
            if shortest_s <= enough_s or ended_s >= until_s:
                break
        return shortest_s
