"""What a request of too many rows is divided into, and how its answer comes together."""

from math import inf

import numpy as np
import pytest

from shoal_server.batching.forecast import Forecast
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.parts import MANY_PARTS, MOST_PARTS, Part, Split
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import ExecutionFailed, InvalidRequest
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import Array, blocks_of
from shoal_server.tensors.spec import Checked
from shoal_server.tensors.value import IN_PLACE
from shoal_testing.core import rows_of
from shoal_testing.fake_model import Kind, signature
from shoal_testing.fakes import RecordingResponder, tensor

SIGNATURE = signature(Kind.ROWS)
ORIGIN = Origin("m", 1, 1)
UNKNOWN = Forecast(BatchingOptions())


def ticket_of(rows: int, *, answer_by_s: float = inf, deadline_s: float = 60.0) -> tuple[Ticket, RecordingResponder]:
    responder = RecordingResponder()
    checked = SIGNATURE.check(rows_of(range(rows)))
    return Ticket(responder, checked, 10 * rows, 0.0, deadline_s, answer_by_s=answer_by_s), responder


def numbers(part: Part) -> list[int]:
    value = part.values[0]
    assert value is not None
    assert isinstance(value.payload, IN_PLACE)
    return list(np.frombuffer(value.payload, np.int64))


def outputs_of(arrays: Array) -> Outputs:
    blocks = blocks_of(SIGNATURE, [arrays], len(arrays))
    return Outputs(ORIGIN, blocks, tuple(block.tail for block in blocks))


def compute(part: Part, before: int = 0, after: int = 0) -> None:
    """Answer a part as a batch does in which others stand before and after it."""
    x = [-1] * before + numbers(part) + [-1] * after
    part.succeed(outputs_of(np.array(x, np.int64)[:, None] * 10), before, part.rows)


@pytest.mark.parametrize(
    ("rows", "most", "slots", "first"),
    [(9, 4, 1, [4, 4]), (9, 4, 2, [4, 4, 1]), (8, 4, 4, [4, 4]), (5, 4, 1, [4, 1]), (3, 1, 1, [1, 1])],
)
def test_one_part_more_than_there_are_slots_waits_or_runs(rows: int, most: int, slots: int, first: list[int]) -> None:
    split = Split(ticket_of(rows)[0], most, slots, may_grow=False)
    parts = split.next_parts(0.0, UNKNOWN)
    assert [part.rows for part in parts] == first
    assert split.next_parts(0.0, UNKNOWN) == []
    seen = [number for part in parts for number in numbers(part)]
    while parts:
        split.ended(parts.pop(0))
        fresh = split.next_parts(0.0, UNKNOWN)
        assert len(fresh) <= 1
        seen += [number for part in fresh for number in numbers(part)]
        parts += fresh
    assert seen == list(range(rows))
    assert split.over


def test_the_parts_share_the_size_of_the_request() -> None:
    parts = Split(ticket_of(9)[0], 4, 3, may_grow=False).next_parts(0.0, UNKNOWN)
    assert [part.size_bytes for part in parts] == [40, 40, 10]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_answer_has_all_rows_in_order_however_the_parts_end(order: tuple[int, ...]) -> None:
    ticket, responder = ticket_of(9)
    split = Split(ticket, 4, 3, may_grow=False)
    parts = split.next_parts(0.0, UNKNOWN)
    for number in order:
        assert not responder.answers
        compute(parts[number], before=number, after=1)
    assert responder.answer.array()[:, 0].tolist() == [10 * number for number in range(9)]
    assert responder.answer.outputs is not None
    assert responder.answer.outputs.origin == ORIGIN
    assert ticket.ok


def test_strings_are_joined_like_numbers() -> None:
    text = signature(Kind.TEXT)
    x = np.array([[f"{number}|é"] for number in range(5)], object)
    responder = RecordingResponder()
    ticket = Ticket(responder, text.check([tensor("x", x)]), 50, 0.0, 60.0)
    for part in Split(ticket, 2, 2, may_grow=False).next_parts(0.0, UNKNOWN):
        value = part.values[0]
        assert value is not None
        rows = np.array(value.payload, object)[:, None]
        blocks = blocks_of(text, [rows], len(rows))
        part.succeed(Outputs(ORIGIN, blocks, ((1,),)), 0, part.rows)
    assert responder.answer.array().tolist() == x.tolist()


def test_the_first_part_that_fails_fails_the_whole_and_the_others_are_not_wanted_any_more() -> None:
    ticket, responder = ticket_of(9)
    split = Split(ticket, 4, 3, may_grow=False)
    first, second, third = split.next_parts(0.0, UNKNOWN)
    compute(first)
    assert second.fail(ExecutionFailed("odd"), Outcome.ABANDONED)
    assert str(responder.error) == "odd"
    assert ticket.outcome is Outcome.ABANDONED
    assert third.answered
    compute(third)
    assert len(responder.answers) == 1
    for part in (first, second, third):
        split.ended(part)
    assert split.over


def test_a_part_that_was_computed_cannot_fail_the_whole_any_more() -> None:
    """Its batch may be given up as hung when a later member hangs, or when word of its end is late."""
    ticket, responder = ticket_of(5)
    first, second = Split(ticket, 4, 1, may_grow=False).next_parts(0.0, UNKNOWN)
    compute(first)
    assert not first.fail(ExecutionFailed("given up"))
    compute(second)
    assert responder.answer.error is None


def test_nothing_more_begins_for_a_caller_who_left() -> None:
    ticket, _ = ticket_of(9)
    split = Split(ticket, 4, 1, may_grow=False)
    parts = split.next_parts(0.0, UNKNOWN)
    ticket.leave()
    assert all(part.answered for part in parts)
    split.ended(parts[0])
    assert split.next_parts(0.0, UNKNOWN) == []
    assert not split.over
    split.ended(parts[1])
    assert split.over


def test_answers_whose_rows_have_different_shapes_cannot_be_joined() -> None:
    ticket, responder = ticket_of(5)
    first, second = Split(ticket, 4, 1, may_grow=False).next_parts(0.0, UNKNOWN)
    first.succeed(outputs_of(np.zeros((4, 2), np.int64)), 0, 4)
    second.succeed(outputs_of(np.zeros((1, 3), np.int64)), 0, 1)
    assert str(responder.error) == (
        "the answers to its 2 parts cannot be joined: rows of output 'y' have shapes [2] and [3]; send at most 4 rows"
    )


def test_each_part_may_wait_as_long_as_the_request_and_ends_while_there_is_time_for_the_rest() -> None:
    forecast = Forecast(BatchingOptions(max_rows=4), 1, [(1, 1.0), (4, 1.0)] * 8)
    forecast.observe(0.0, 4, 1.0)
    ticket, _ = ticket_of(12, answer_by_s=10.0, deadline_s=2.0)
    split = Split(ticket, 4, 1, may_grow=False)
    first, second = split.next_parts(0.0, forecast)
    assert (first.deadline_s, second.deadline_s) == (2.0, 2.0)
    assert (first.answer_by_s, second.answer_by_s) == pytest.approx((8.0, 9.0))
    split.ended(first)
    (third,) = split.next_parts(0.5, forecast)
    assert (third.deadline_s, third.answer_by_s) == (2.5, 10.0)


def test_a_request_of_far_too_many_parts_is_refused_by_name() -> None:
    checked = Checked(ticket_of(1)[0].values, 4 * MOST_PARTS + 1, ())  # type: ignore[arg-type]
    ticket = Ticket(RecordingResponder(), checked, 10, 0.0, 60.0)
    with pytest.raises(InvalidRequest, match="65537 rows take 16385 batches of 4 rows; a request may take 16384"):
        Split(ticket, 4, 1, may_grow=False)


def test_a_request_of_far_too_many_parts_is_computed_in_larger_ones_where_the_model_runs_at_any_size() -> None:
    rows = 4 * MANY_PARTS + 1
    checked = Checked(ticket_of(1)[0].values, rows, ())  # type: ignore[arg-type]
    split = Split(Ticket(RecordingResponder(), checked, 10, 0.0, 60.0), 4, 1, may_grow=True)
    assert (split.parts, split.next_parts(0.0, Forecast(BatchingOptions(max_rows=4), 1, []))[0].rows) == (820, 5)
