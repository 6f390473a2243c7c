"""Planted bugs of requests that are answered where they came."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from collections.abc import Sequence
from typing import Any

import pytest

from shoal_server.admission.gate import Gate
from shoal_server.batching import burst
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.burst import AtOnce
from shoal_server.batching.statistics import Statistics
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.tensors import batch
from shoal_server.tensors.batch import Array, OutputBlock
from shoal_server.tensors.spec import Signature
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=4)
def who_comes_now_passes_over_who_waits(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.run_now

    def hasty(self: Batcher, *rest: Any) -> int:  # noqa: ANN401
        backlog, self._backlog = self._backlog, Backlog(self.options)
        try:
            return original(self, *rest)
        finally:
            self._backlog = backlog

    patch.setattr(Batcher, "run_now", hasty)


@planted(seen_by=45)
def answers_at_once_have_no_bound_of_instances(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.run_now

    def boundless(self: Batcher, *rest: Any) -> int:  # noqa: ANN401
        instances, self.instances = self.instances, 100
        try:
            return original(self, *rest)
        finally:
            self.instances = instances

    patch.setattr(Batcher, "run_now", boundless)


@planted(seen_by=4)
def batches_at_once_are_of_any_size(patch: pytest.MonkeyPatch) -> None:
    original = AtOnce.__init__

    def boundless(self: AtOnce, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        original(self, *rest, **more)
        self._most_rows = 1 << 20

    patch.setattr(AtOnce, "__init__", boundless)


@planted(seen_by=58)
def who_is_answered_at_once_passes_a_closed_or_full_gate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "has_room", lambda *_: True)


@planted(seen_by=4)
def who_is_answered_at_once_is_answered_again(patch: pytest.MonkeyPatch) -> None:
    original = AtOnce.run
    patch.setattr(AtOnce, "run", lambda self, *rest: max(original(self, *rest) - 1, 0))


@planted(seen_by=48)
def who_could_not_be_answered_at_once_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = AtOnce.run
    patch.setattr(AtOnce, "run", lambda self, runner, calls, form: original(self, runner, calls, form) and len(calls))


@planted(seen_by=4)
def who_left_before_an_answer_at_once_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    original = Statistics.executed_at_once

    def forgetful(self: Statistics, run: Any, _requests: int, *rest: Any) -> None:  # noqa: ANN401
        original(self, run, run.requests, *rest)

    patch.setattr(Statistics, "executed_at_once", forgetful)


@planted(seen_by=0)
def a_version_that_does_not_serve_answers_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VersionSlot, "serving", lambda self: self.engine)


@planted(seen_by=93)
def outputs_at_once_may_be_of_any_type(patch: pytest.MonkeyPatch) -> None:
    def trusting(signature: Signature, arrays: Sequence[Array], _rows: int) -> tuple[OutputBlock, ...]:
        return tuple(map(batch._block, signature.outputs, arrays))

    patch.setattr(burst, "blocks_of", trusting)


@planted(seen_by=4)
def late_requests_are_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    original = AtOnce.run

    def patient(self: AtOnce, runner: Any, calls: Any, form: Any) -> int:  # noqa: ANN401
        calls.earliest_s = float("inf")
        return original(self, runner, calls, form)

    patch.setattr(AtOnce, "run", patient)


@planted(seen_by=4)
def traced_batches_at_once_are_not_told_of(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AtOnce, "_tell", nothing)


@planted(seen_by=48)
def who_could_not_be_answered_at_once_stays_dispatched(patch: pytest.MonkeyPatch) -> None:
    original = AtOnce.run

    def forgetful(self: AtOnce, runner: Any, calls: Any, form: Any) -> int:  # noqa: ANN401
        answered = original(self, runner, calls, form)
        for mark in calls.traced(0, calls.tried):
            mark.dispatched = True
        return answered

    patch.setattr(AtOnce, "run", forgetful)
