"""One batch of different lengths, called synchronously: who is answered with what, and what the model got."""

import numpy as np
import pytest

from shoal_server.batching.execution import BatchExecution
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.errors import ExecutionFailed
from shoal_server.options import BatchingOptions, LengthOptions, VariableInput
from shoal_server.tensors.batch import Array
from shoal_testing.fake_model import PAD, SERIALS, FakeModel, Kind, Poison
from shoal_testing.fakes import RecordingResponder, tensor

ORIGIN = Origin("m", 7, 1)


class Padded(FakeModel):
    """A model of variable lengths that remembers what it was given."""

    def __init__(self, edges: tuple[int, ...] = (), **poisons: Poison) -> None:
        numbers = {int(name[1:]): poison for name, poison in poisons.items()}
        super().__init__(
            Kind.LENGTHS, lengths=LengthOptions({"x": VariableInput(1, PAD)}, {"y": 1}, edges=edges), poisons=numbers
        )
        self.given: list[list[list[int]]] = []
        self.trouble = ""

    def _compute(self, x: Array, bias: Array | None) -> Array:
        self.given.append(x.tolist())
        y = super()._compute(x, bias)
        return y[:, :-1] if self.trouble == "short" and len(x) > 1 else y


class Batch:
    """Members of one batch, each with its responder; ``[[1, 2], [3]]`` is one of two numbers and one of one."""

    def __init__(self, model: Padded, *members: list[list[int]], allowed_rows: tuple[int, ...] = ()) -> None:
        self.responders = [RecordingResponder() for _ in members]
        self.tickets = [
            Ticket(responder, model.signature.check([tensor("x", np.array(rows, np.int64))]), 10, 0.0, 100.0)
            for responder, rows in zip(self.responders, members, strict=True)
        ]
        options = BatchingOptions(allowed_rows=allowed_rows)
        self.execution = BatchExecution(ORIGIN, model, options, self.tickets, cpu_ns=iter(range(0, 100, 5)).__next__)
        self.report = self.execution()

    def answers(self) -> list[list[list[int]] | None]:
        return [
            (responder.answer.array() // SERIALS).tolist() if responder.answer.error is None else None
            for responder in self.responders
        ]


def test_members_of_different_lengths_run_together_and_get_their_own_lengths() -> None:
    model = Padded()
    batch = Batch(model, [[1, 2, 3]], [[4], [5]], [[6, 7]])
    assert model.given == [[[1, 2, 3], [4, PAD, PAD], [5, PAD, PAD], [6, 7, PAD]]]
    assert batch.answers() == [[[1, 2, 3]], [[4], [5]], [[6, 7]]]
    (run,) = batch.report.runs
    assert (run.rows, run.cells, run.padded_cells, run.cost, run.cpu_ns) == (4, 7, 12, 12, 5)


def test_members_of_one_length_are_not_padded() -> None:
    model = Padded()
    batch = Batch(model, [[1, 2]], [[3, 4]])
    assert model.given == [[[1, 2], [3, 4]]]
    assert batch.answers() == [[[1, 2]], [[3, 4]]]
    assert (batch.report.runs[0].cells, batch.report.runs[0].padded_cells) == (4, 4)


def test_with_edges_a_batch_has_the_length_of_the_next_edge_and_so_has_who_is_alone() -> None:
    model = Padded(edges=(4, 8))
    assert Batch(model, [[1, 2, 3]]).answers() == [[[1, 2, 3]]]
    assert Batch(model, [[1]], [[2, 3]], allowed_rows=(4,)).answers() == [[[1]], [[2, 3]]]
    assert model.given == [
        [[1, 2, 3, PAD]],
        [[1, PAD, PAD, PAD], *[[2, 3, PAD, PAD]] * 3],
    ]


def test_who_fails_fails_alone_whatever_the_others_lengths() -> None:
    model = Padded(_4=Poison.REFUSED)
    batch = Batch(model, [[1, 2, 3]], [[4]], [[6, 7]])
    assert batch.answers() == [[[1, 2, 3]], None, [[6, 7]]]
    assert isinstance(batch.responders[1].error, ExecutionFailed)


def test_outputs_of_another_length_are_given_to_nobody_and_members_run_as_they_are() -> None:
    model = Padded()
    model.trouble = "short"
    batch = Batch(model, [[1, 2, 3]], [[4]])
    assert batch.report.rows_mixed
    assert batch.answers() == [[[1, 2, 3]], [[4]]]
    assert model.given[1:] == [[[1, 2, 3]], [[4]]]


def test_how_long_a_batch_takes_is_known_by_its_length_too() -> None:
    model = Padded()
    forms = [Batch(model, *members).execution.form for members in ([[[1]], [[2]]], [[[1]], [[2, 3]]], [[[1, 2]]])]
    assert forms[0] != forms[1] == forms[2]


@pytest.mark.parametrize("rows", [[[]], [[], []]])
def test_rows_of_no_length_run_alone_and_are_answered(rows: list[list[int]]) -> None:
    batch = Batch(Padded(), rows)
    assert batch.tickets[0].key is None
    assert batch.answers() == [rows]
