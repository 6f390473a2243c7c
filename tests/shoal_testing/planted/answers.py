"""Planted bugs of what callers are answered, and with whom."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shoal_server.batching import backlog, execution
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.decision import Dispatch
from shoal_server.batching.execution import BatchExecution
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.joining import Limits, join
from shoal_server.batching.lane import Lane
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.tensors.batch import WHOLE, assemble
from shoal_server.tensors.padding import cut
from shoal_testing.planted.planting import planted


@planted(seen_by=0)
def cancelled_requests_stay_in_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "withdraw", lambda _self, ticket: ticket.leave())


@planted(seen_by=0)
def cancelled_requests_are_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ticket, "leave", lambda _self: False)


@planted(seen_by=6)
def a_request_is_lost_between_line_and_batch(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.next

    def lossy(self: Backlog[Any], now: float, free_slots: int) -> object:
        decision = original(self, now, free_slots)
        if isinstance(decision, Dispatch) and len(decision.entries) > 2:
            return decision._replace(entries=decision.entries[:-1])
        return decision

    patch.setattr(Backlog, "next", lossy)


@planted(seen_by=0)
def a_request_goes_into_two_batches(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.next
    last: list[Any] = []

    def generous(self: Backlog[Any], now: float, free_slots: int) -> object:
        decision = original(self, now, free_slots)
        if isinstance(decision, Dispatch):
            again = [entry for entry in last if entry.key == decision.entries[0].key]
            last[:] = decision.entries
            return decision._replace(entries=(*again, *decision.entries))
        return decision

    patch.setattr(Backlog, "next", generous)


@planted(seen_by=5)
def the_answers_of_two_neighbours_are_swapped(patch: pytest.MonkeyPatch) -> None:
    def swapped(signature: Any, members: Sequence[Any], padded_rows: int) -> object:  # noqa: ANN401
        return assemble(signature, members[::-1], padded_rows)

    patch.setattr(execution, "assemble", swapped)


@planted(seen_by=5)
def every_member_is_answered_with_the_whole_batch(patch: pytest.MonkeyPatch) -> None:
    original = Ticket.succeed
    patch.setattr(Ticket, "succeed", lambda self, outputs, _start, _rows: original(self, outputs, 0, WHOLE))


@planted(seen_by=5)
def a_member_gets_the_rows_after_its_own(patch: pytest.MonkeyPatch) -> None:
    original = Ticket.succeed

    def late(self: Ticket, outputs: Any, start: int, rows: int) -> bool:  # noqa: ANN401
        return original(self, outputs, start + (start > 0), rows)

    patch.setattr(Ticket, "succeed", late)


@planted(seen_by=1)
def an_error_is_answered_twice(patch: pytest.MonkeyPatch) -> None:
    def twice(self: Ticket, error: Any) -> bool:  # noqa: ANN401
        for responder in self._responder:
            responder.fail(error)
            responder.fail(error)
        self._responder.clear()
        return True

    patch.setattr(Ticket, "fail", twice)


@planted(seen_by=0)
def an_answer_names_another_version(patch: pytest.MonkeyPatch) -> None:
    original = BatchExecution.__init__

    def lying(self: BatchExecution, origin: Origin, *rest: Any) -> None:  # noqa: ANN401
        original(self, origin._replace(version=origin.version + 1), *rest)

    patch.setattr(BatchExecution, "__init__", lying)


@planted(seen_by=6)
def one_bad_member_fails_its_batch(patch: pytest.MonkeyPatch) -> None:
    def all_fail(_self: BatchExecution, tickets: Sequence[Ticket], error: Any, *, pad: bool) -> None:  # noqa: ANN401
        del pad
        for ticket in tickets:
            ticket.fail(error)

    patch.setattr(BatchExecution, "_isolate", all_fail)


@planted(seen_by=0)
def keys_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def one_lane(self: Backlog[Any], _entry: object) -> object:
        return self._lanes.setdefault((), Lane(()))

    patch.setattr(Backlog, "_lane_of", one_lane)


@planted(seen_by=1)
def batches_are_larger_than_allowed(patch: pytest.MonkeyPatch) -> None:
    original = Backlog._take

    def greedy(self: Backlog[Any], lane: Any, now: float, limit: int, *, mature: bool) -> object:  # noqa: ANN401
        return original(self, lane, now, limit + 1, mature=mature)

    patch.setattr(Backlog, "_take", greedy)


@planted(seen_by=33)
def padding_is_not_bounded(patch: pytest.MonkeyPatch) -> None:
    original = Limits.of

    def lavish(forecast: Forecast, rows: int, padded: Callable[[int], int]) -> Limits:
        return original(forecast, rows, padded)._replace(padding=1e9)

    patch.setattr(Limits, "of", lavish)


@planted(seen_by=34)
def batches_have_more_cells_than_allowed(patch: pytest.MonkeyPatch) -> None:
    original = Limits.of

    def lavish(forecast: Forecast, rows: int, padded: Callable[[int], int]) -> Limits:
        return original(forecast, rows, padded)._replace(cells=1e9)

    patch.setattr(Limits, "of", lavish)


@planted(seen_by=43)
def the_next_length_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    def picky(buckets: Sequence[int], first: int, *rest: Any) -> object:  # noqa: ANN401
        return join([bucket for bucket in buckets if bucket % 2 == first % 2], first, *rest)

    patch.setattr(backlog, "join", picky)


@planted(seen_by=0)
def answers_keep_their_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(execution, "is_cut", lambda *_: False)


@planted(seen_by=6)
def answers_are_cut_to_the_length_of_the_first(patch: pytest.MonkeyPatch) -> None:
    def alike(signature: Any, arrays: Any, members: Sequence[Any], sizes: tuple[int, int]) -> object:  # noqa: ANN401
        return cut(signature, arrays, [one._replace(length=members[0].length) for one in members], sizes)

    patch.setattr(execution, "cut", alike)
