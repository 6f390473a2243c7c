"""Planted bugs of requests in parts."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from collections.abc import Sequence
from typing import Any

import pytest

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.execution import BatchExecution
from shoal_server.batching.parts import Part, Split
from shoal_server.batching.splitter import Splitter
from shoal_server.batching.ticket import Ticket
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=6)
def large_batches_are_never_run(patch: pytest.MonkeyPatch) -> None:
    original = BatchExecution._run

    def fragile(self: BatchExecution, tickets: Sequence[Ticket], *, pad: bool) -> None:
        if len(tickets) > 3:
            self.tickets = tickets[:1]
        else:
            original(self, tickets, pad=pad)

    patch.setattr(BatchExecution, "_run", fragile)


@planted(seen_by=42)
def parts_are_joined_in_the_order_of_their_ends(patch: pytest.MonkeyPatch) -> None:
    original = Split.take
    patch.setattr(Split, "take", lambda self, _number, *rest: original(self, len(self._pieces), *rest))


@planted(seen_by=12)
def a_request_is_answered_without_its_last_part(patch: pytest.MonkeyPatch) -> None:
    original = Split.__init__

    def short(self: Split, *arguments: Any, may_grow: bool) -> None:  # noqa: ANN401
        original(self, *arguments, may_grow=may_grow)
        self.parts -= 1

    patch.setattr(Split, "__init__", short)


@planted(seen_by=7)
def a_part_that_fails_fails_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "fail", lambda self, *_: bool(self._responder and self._responder.pop()))


@planted(seen_by=264)
def a_part_that_was_computed_fails_with_its_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "fail", lambda self, error, outcome=None: self.split.ticket.fail(error, outcome))


@planted(seen_by=12)
def parts_of_those_who_left_stay_in_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Splitter, "left", nothing)


@planted(seen_by=3)
def a_request_in_parts_is_not_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_whole_over", nothing)


@planted(seen_by=3)
def a_request_in_parts_is_settled_with_its_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Split, "over", property(lambda self: bool(self._pieces)))


@planted(seen_by=12)
def the_next_part_never_comes(patch: pytest.MonkeyPatch) -> None:
    original = Split.next_parts
    patch.setattr(
        Split, "next_parts", lambda self, *rest: [] if self.dispatched_s is not None else original(self, *rest)
    )


@planted(seen_by=47)
def a_part_that_cannot_be_told_by_rows_is_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "is_part", False)
