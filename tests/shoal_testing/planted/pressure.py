"""Larger batches while callers wait: at the wrong time, or too large."""

from math import inf

import pytest

from shoal_server.batching import pressure
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.pressure import Pressure
from shoal_server.batching.slots import Account, Slots
from shoal_server.options import BatchingOptions
from shoal_testing.planted.planting import planted


@planted(seen_by=61)
def larger_batches_leave_the_other_slots_nothing(patch: pytest.MonkeyPatch) -> None:
    original = Pressure.limit

    def greedy(self: Pressure, waiting_rows: int, now: float, due_s: float) -> int:
        return original(self, waiting_rows * self._forecast.slots, now, due_s)

    patch.setattr(Pressure, "limit", greedy)


@planted(seen_by=182)
def larger_batches_put_deadlines_at_risk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pressure, "_FAR", 0.0)


@planted(seen_by=182)
def larger_batches_come_near_the_limit_of_one(patch: pytest.MonkeyPatch) -> None:
    original = Pressure.__init__

    def unlimited(self: Pressure, options: BatchingOptions, forecast: Forecast) -> None:
        original(self, options, forecast)
        self._limit_s = inf

    patch.setattr(Pressure, "__init__", unlimited)


@planted(seen_by=71)
def batches_are_larger_in_a_burst(patch: pytest.MonkeyPatch) -> None:
    original = Pressure.dispatched

    def hasty(self: Pressure, *, leaves: bool) -> None:
        original(self, leaves=leaves)
        self._leaving *= 2

    patch.setattr(Pressure, "dispatched", hasty)


@planted(seen_by=29)
def a_line_that_ended_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    original = Pressure.dispatched

    def blind(self: Pressure, *, leaves: bool) -> None:
        if leaves:
            original(self, leaves=leaves)

    patch.setattr(Pressure, "dispatched", blind)


@planted(seen_by=17)
def larger_batches_keep_slots_that_others_want(patch: pytest.MonkeyPatch) -> None:
    def alone(_self: Slots, _account: Account) -> bool:
        return False

    patch.setattr(Slots, "shared", alone)
