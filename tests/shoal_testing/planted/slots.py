"""Planted bugs of what is held and given back: slots, the gate, the line."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from dataclasses import replace
from typing import Any

import pytest

from shoal_server.admission.gate import Gate
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.execution import Control
from shoal_server.batching.slots import Slots
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.options import BatchingOptions
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=0)
def a_slot_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "give_back", nothing)


@planted(seen_by=3)
def nobody_hears_of_a_free_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "wait", nothing)


@planted(seen_by=3)
def the_end_of_a_batch_starts_no_other(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._ended

    def silent(self: Batcher, running: Any, report: Any) -> None:  # noqa: ANN401
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Batcher, "pump", nothing)
            original(self, running, report)

    patch.setattr(Batcher, "_ended", silent)


@planted(seen_by=11)
def more_batches_run_than_there_are_instances(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.pump

    def unlimited(self: Batcher) -> None:
        declared, self.instances = self.instances, 1000
        original(self)
        self.instances = declared

    patch.setattr(Batcher, "pump", unlimited)


@planted(seen_by=3)
def hung_batches_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_abandon_hung", nothing)


@planted(seen_by=3)
def hung_batches_keep_their_slot(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._abandon_hung

    def keeping(self: Batcher, now: float) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Slots, "give_back", nothing)
            original(self, now)

    patch.setattr(Batcher, "_abandon_hung", keeping)


@planted(seen_by=7)
def hung_runs_are_not_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Control, "stop", nothing)


@planted(seen_by=1)
def the_line_has_no_bounds(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def unbounded(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        huge = 1 << 40
        wide = replace(options, max_queued_requests=huge, max_queued_rows=huge, max_queued_bytes=huge)
        original(self, wide, *rest)

    patch.setattr(Backlog, "__init__", unbounded)


@planted(seen_by=0)
def the_gate_is_always_open(patch: pytest.MonkeyPatch) -> None:
    def admit(self: Gate, rows: int, size_bytes: int, caller: str, _now: float) -> str:
        self.requests += 1
        self.rows += rows
        self.size_bytes += size_bytes
        return caller

    patch.setattr(Gate, "admit", admit)


@planted(seen_by=0)
def bytes_are_never_released(patch: pytest.MonkeyPatch) -> None:
    original = Gate.release
    patch.setattr(Gate, "release", lambda self, rows, _size_bytes, account: original(self, rows, 0, account))


@planted(seen_by=0)
def a_refusal_by_the_line_keeps_its_lease(patch: pytest.MonkeyPatch) -> None:
    original = VersionSlot.release

    def forgetful(self: VersionSlot[Any], leases: int | None = None) -> None:
        if leases is not None:
            original(self, leases)

    patch.setattr(VersionSlot, "release", forgetful)
