"""The guard against NaN: who is refused, and who is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from shoal_server.batching.execution import BatchExecution, Report
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import NOT_FOUND_OUT
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_testing.fakes import RecordingResponder, tensor


class Roots:
    """``y`` = the square root of x, so NaN of a negative; with ``contagious``, the NaN of one row reaches all."""

    batching_reason = tuning_reason = ""
    invariance = NOT_FOUND_OUT
    timings = ()
    steady = True

    def __init__(self, *, batched: bool = True, contagious: bool = False) -> None:
        spec = (TensorSpec("x", DataType.FP32, ("N",)),)
        self.signature = Signature(spec, (TensorSpec("y", DataType.FP32, ("N",)),), batched)
        self.contagious = contagious
        self.runs: list[list[float]] = []

    def run(self, inputs: Sequence[Array | None], control: object) -> Sequence[Array]:
        del control
        (x,) = inputs
        assert x is not None
        self.runs.append(x.tolist())
        with np.errstate(invalid="ignore"):
            y = np.sqrt(x)
        return [y + y.sum() * 0 if self.contagious else y]


def play(
    members: Sequence[Sequence[float]], model: Roots, *, guarded: bool = True, allowed_rows: tuple[int, ...] = ()
) -> tuple[list[list[float] | str], Report, list[Ticket]]:
    """Run one batch; return what each member got."""
    responders = [RecordingResponder() for _ in members]
    tickets = [
        Ticket(responder, model.signature.check([tensor("x", np.array(own, np.float32))]), 10, 0.0, 100.0)
        for responder, own in zip(responders, members, strict=True)
    ]
    options = BatchingOptions(allowed_rows=allowed_rows)
    report = BatchExecution(Origin("m", 1, 1), model, options, tickets, guarded=guarded)()
    got = [str(one.answer.error) if one.answer.error else one.answer.array().tolist() for one in responders]
    return got, report, tickets


NAN_IN_ROW_1 = "output 'y' has NaN or infinity in row 1, and no input has any"


def test_without_the_guard_a_nan_is_an_answer_like_any() -> None:
    got, _, _ = play([[4.0], [-1.0]], Roots(), guarded=False)
    assert str(got) == "[[2.0], [nan]]"


@pytest.mark.parametrize("allowed_rows", [(), (8,)])
def test_the_row_s_own_caller_is_refused_and_nobody_else(allowed_rows: tuple[int, ...]) -> None:
    got, report, tickets = play([[4.0], [9.0, -1.0], [16.0]], Roots(), allowed_rows=allowed_rows)
    assert got == [[2.0], NAN_IN_ROW_1, [4.0]]
    assert [ticket.outcome for ticket in tickets] == [Outcome.OK, Outcome.NOT_FINITE, Outcome.OK]
    assert [(run.rows, run.requests) for run in report.runs] == [(2, 2)], "what is not answered is not counted"
    assert not report.bugs


@pytest.mark.parametrize("batched", [True, False])
def test_one_alone_is_refused_after_one_run(*, batched: bool) -> None:
    model = Roots(batched=batched)
    got, report, _ = play([[9.0, -1.0]], model)
    assert got == [NAN_IN_ROW_1]
    assert (len(model.runs), report.runs) == (1, [])


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_who_sends_nan_or_infinity_gets_what_the_model_makes_of_it(odd: float) -> None:
    got, _, tickets = play([[4.0], [odd]], Roots())
    assert str(got) == f"[[2.0], [{odd}]]"
    assert all(ticket.ok for ticket in tickets)


def test_who_was_spoilt_by_a_neighbour_is_computed_alone() -> None:
    model = Roots(contagious=True)
    got, report, _ = play([[4.0], [-1.0], [np.nan], [9.0]], model)
    assert str([got[0], got[2], got[3]]) == "[[2.0], [nan], [3.0]]"
    assert got[1] == "output 'y' has NaN or infinity in row 0, and no input has any"
    assert [len(run) for run in model.runs] == [4, 1, 1, 1]
    assert [(run.rows, run.requests) for run in report.runs] == [(1, 1), (1, 1), (1, 1)]
