"""One batch, called synchronously: who is answered with what, and how often the model runs."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from shoal_server.batching.execution import BatchExecution, Control
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.errors import ExecutionFailed, InternalError, ShoalError
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import WHOLE, Array
from shoal_server.tensors.spec import Tensor
from shoal_testing.core import rows_of
from shoal_testing.fake_model import SERIALS, FakeModel, Kind, Poison
from shoal_testing.fakes import RecordingResponder, tensor

ORIGIN = Origin("m", 7, 1)


class Batch:
    """Members of one batch of a fake model, each with its responder."""

    def __init__(self, model: FakeModel, members: Sequence[Sequence[Tensor]], **options: tuple[int, ...]) -> None:
        self.model = model
        self.responders = [RecordingResponder() for _ in members]
        self.tickets = [
            Ticket(responder, model.signature.check(tensors), 10, 0.0, 100.0)
            for responder, tensors in zip(self.responders, members, strict=True)
        ]
        self.execution = BatchExecution(ORIGIN, model, BatchingOptions(**options), self.tickets)  # type: ignore[arg-type]

    def answered(self) -> list[list[int] | type[ShoalError]]:
        """Run it; return the first column of each member's input as its answer shows it, or its error."""
        self.execution()
        return [
            type(responder.error)
            if responder.answer.error is not None
            else (responder.answer.array()[:, 0] // SERIALS).tolist()
            for responder in self.responders
        ]


def batch_of(members: Sequence[Sequence[int]], model: FakeModel | None = None, **options: tuple[int, ...]) -> Batch:
    return Batch(model or FakeModel(), [rows_of(numbers) for numbers in members], **options)


def test_each_member_gets_its_own_rows_in_order_from_one_run() -> None:
    batch = batch_of([[1], [2, 3], [4, 5, 6]])
    assert batch.answered() == [[1], [2, 3], [4, 5, 6]]
    assert batch.model.runs == [[1, 2, 3, 4, 5, 6]]
    assert [(run.rows, len(batch.execution.report.runs)) for run in batch.execution.report.runs] == [(6, 1)]
    assert batch.responders[0].answer.outputs is not None
    assert batch.responders[0].answer.outputs.origin == ORIGIN


def test_a_batch_of_one_is_answered_with_the_outputs_as_they_are() -> None:
    batch = batch_of([[4, 5]])
    assert batch.answered() == [[4, 5]]
    assert batch.responders[0].answer.rows == WHOLE


@pytest.mark.parametrize(
    ("members", "allowed", "runs"),
    [
        ([[1], [2], [3]], (4, 8), [[1, 2, 3, 3]]),
        ([[1, 2, 3, 4]], (4, 8), [[1, 2, 3, 4]]),
        ([[1], [2, 3, 4, 5]], (4, 8), [[1, 2, 3, 4, 5, 5, 5, 5]]),
        ([[1], [2]], (1,), [[1, 2]]),  # more than any allowed size: as it is
        ([[9]], (4,), [[9, 9, 9, 9]]),
    ],
)
def test_a_batch_is_padded_to_an_allowed_size_with_its_last_row_and_nobody_sees_it(
    members: list[list[int]], allowed: tuple[int, ...], runs: list[list[int]]
) -> None:
    batch = batch_of(members, allowed_rows=allowed)
    assert batch.answered() == members
    assert batch.model.runs == runs
    assert [run.rows for run in batch.execution.report.runs] == [sum(map(len, members))]


def test_strings_are_batched_and_padded_like_numbers() -> None:
    texts = [[["1|a"], ["2|"]], [["3|é"]]]
    members = [[tensor("x", np.array(rows, object))] for rows in texts]
    batch = Batch(FakeModel(Kind.TEXT), members, allowed_rows=(4,))
    batch.execution()
    serial = batch.model.serial
    assert [responder.answer.array().tolist() for responder in batch.responders] == [
        [[f"1|a@{serial}"], [f"2|@{serial}"]],
        [[f"3|é@{serial}"]],
    ]


@pytest.mark.parametrize("leaver", range(5))
def test_a_member_that_left_before_the_run_is_not_computed_and_disturbs_nobody(leaver: int) -> None:
    batch = batch_of([[1], [2], [3, 33], [4], [5]])
    batch.tickets[leaver].leave()
    batch.execution()
    members = [[1], [2], [3, 33], [4], [5]]
    rest = [member for index, member in enumerate(members) if index != leaver]
    assert batch.model.runs == [list(itertools.chain(*rest))]
    assert [len(responder.answers) for responder in batch.responders] == [int(index != leaver) for index in range(5)]


@pytest.mark.parametrize("leaver", range(5))
def test_a_member_that_leaves_during_the_run_disturbs_nobody(leaver: int) -> None:
    def leave(_run: int) -> None:
        batch.tickets[leaver].leave()

    members = [[1], [2], [3, 33], [4], [5]]
    batch = batch_of(members, FakeModel(script=leave))
    batch.execution()
    answers = [[r.answer.array()[:, 0] // SERIALS] if r.answers else None for r in batch.responders]
    assert [answer and answer[0].tolist() for answer in answers] == [
        None if index == leaver else member for index, member in enumerate(members)
    ]
    assert len(batch.model.runs) == 1


def test_where_all_members_left_the_model_is_not_called() -> None:
    batch = batch_of([[1], [2]])
    for ticket in batch.tickets:
        ticket.leave()
    report = batch.execution()
    assert (batch.model.runs, report.runs, report.bugs) == ([], [], [])


@pytest.mark.parametrize(("poison", "error"), [(Poison.REFUSED, ExecutionFailed), (Poison.CRASH, InternalError)])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_members_at_fault_fail_alone_wherever_they_stand(size: int, poison: Poison, error: type[ShoalError]) -> None:
    for bad in itertools.chain(*(itertools.combinations(range(size), count) for count in range(1, size + 1))):
        model = FakeModel(poisons=dict.fromkeys(bad, poison))
        batch = batch_of([[index] for index in range(size)], model)
        assert batch.answered() == [error if index in bad else [index] for index in range(size)]
        assert len(model.runs) <= 2 * size - 1
        assert bool(batch.execution.report.bugs) == (poison is Poison.CRASH)
        assert not batch.execution.report.rows_mixed


def test_an_execution_that_is_stopped_is_not_tried_again_in_halves() -> None:
    def stopped(_run: int) -> None:
        batch.execution.control.stop()
        raise ExecutionFailed("terminated")

    batch = batch_of([[1], [2], [3]], FakeModel(script=stopped))
    assert batch.answered() == [ExecutionFailed] * 3
    assert len(batch.model.runs) == 1


def test_outputs_that_cannot_be_split_are_thrown_away_and_members_run_one_by_one() -> None:
    batch = batch_of([[1], [2, 3], [4]], FakeModel(Kind.MIXING))
    assert batch.answered() == [[1, 0], [2, 3, 0], [4, 0]]  # as the model gives them to one alone
    assert batch.model.runs == [[1, 2, 3, 4], [1], [2, 3], [4]]
    assert batch.execution.report.rows_mixed
    assert len(batch.execution.report.runs) == 3


def test_a_padded_batch_of_one_that_cannot_be_split_runs_again_without_padding() -> None:
    batch = batch_of([[1]], FakeModel(Kind.MIXING), allowed_rows=(2,))
    assert batch.answered() == [[1, 0]]
    assert batch.model.runs == [[1, 1], [1]]
    assert not batch.execution.report.rows_mixed


def test_mixed_rows_are_reported_though_a_later_half_ran_alone() -> None:
    def too_large_at_first(run: int) -> None:
        if run == 0:
            batch.tickets[3].leave()
            raise ExecutionFailed("too large")

    batch = batch_of([[1], [2], [3], [4]], FakeModel(Kind.MIXING, script=too_large_at_first), allowed_rows=(2, 4))
    batch.execution()
    assert batch.model.runs == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 3], [3]]
    assert batch.execution.report.rows_mixed


def test_a_wrong_element_type_fails_every_member_by_name_of_the_output() -> None:
    batch = batch_of([[1], [2]], FakeModel(Kind.LYING))
    assert batch.answered() == [ExecutionFailed, ExecutionFailed]
    assert str(batch.responders[0].error) == (
        "the model broke its own signature: output 'y' is declared INT64 and came as float32"
    )


def test_a_wrong_number_of_outputs_fails_every_member() -> None:
    class Silent(FakeModel):
        def run(self, _inputs: Sequence[Array | None], _control: object) -> Sequence[Array]:
            return []

    batch = batch_of([[1], [2]], Silent())
    assert batch.answered() == [ExecutionFailed, ExecutionFailed]
    assert "declares 1 outputs and gave 0" in str(batch.responders[0].error)


def test_an_encoder_that_breaks_fails_its_own_member_only() -> None:
    batch = batch_of([[1], [2], [3]])
    failures = [ZeroDivisionError()]

    def once() -> None:
        if failures:
            raise failures.pop()

    batch.responders[1].before = once
    assert batch.answered() == [[1], InternalError, [3]]
    assert len(batch.model.runs) == 1


def test_a_responder_that_breaks_every_time_leaves_its_neighbours_answered() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    for poison in ({}, {2: Poison.REFUSED}):
        batch = batch_of([[1], [2], [3]], FakeModel(poisons=poison))
        batch.responders[1].before = broken
        batch.execution()
        assert [len(responder.answers) for responder in batch.responders] == [1, 0, 1]
        assert batch.tickets[1].answered


def test_everybody_is_answered_whatever_breaks() -> None:
    batch = batch_of([[1], [2]])
    del batch.model.signature
    report = batch.execution()
    assert [type(responder.error) for responder in batch.responders] == [InternalError, InternalError]
    assert report.bugs


def test_everybody_is_answered_though_the_batch_itself_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchExecution, "_isolate", None)
    batch = batch_of([[1], [2]], FakeModel(poisons={1: Poison.REFUSED}))
    report = batch.execution()
    assert [type(responder.error) for responder in batch.responders] == [InternalError, InternalError]
    assert [type(bug) for bug in report.bugs] == [TypeError]


def test_an_exception_that_is_no_error_ends_the_thread_but_leaves_nobody_waiting() -> None:
    def leave_thread(_run: int) -> None:
        raise KeyboardInterrupt

    batch = batch_of([[1], [2]], FakeModel(script=leave_thread))
    with pytest.raises(KeyboardInterrupt):
        batch.execution()
    assert [type(responder.error) for responder in batch.responders] == [InternalError, InternalError]


def test_a_stop_interrupts_the_run_that_has_begun_and_each_that_begins_later() -> None:
    control, calls = Control(), list[int]()
    control.stop()
    assert calls == []
    control.on_stop(lambda: calls.append(1))
    assert calls == [1]
    control.stop()
    assert calls == [1, 1]


def test_a_run_that_is_not_stopped_is_not_interrupted() -> None:
    control, calls = Control(), list[int]()
    control.on_stop(lambda: calls.append(1))
    assert calls == []
    assert not control.stopped
    control.stop()
    assert calls == [1]
    assert control.stopped
