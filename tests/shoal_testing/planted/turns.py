"""Planted bugs of whose turn it is, and when: deadlines, priorities, callers, timers, delays."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shoal_server.batching.alarm import Alarm
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.precedence import Precedence
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import Bound, DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions, FairnessOptions
from shoal_server.service import InferenceService
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=3)
def the_newest_request_goes_first(patch: pytest.MonkeyPatch) -> None:
    def newest(self: Backlog[Any], _now: float) -> object:
        return self._line[next(reversed(self._line))], True

    patch.setattr(Backlog, "_choose", newest)


@planted(seen_by=1)
def nobody_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "expire", lambda _self, _now: [])


@planted(seen_by=16)
def batches_are_started_for_who_will_be_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Forecast, "safe_execution_s", lambda _self, _now, _rows: 0.0)


@planted(seen_by=5)
def who_could_be_answered_in_time_is_refused(patch: pytest.MonkeyPatch) -> None:
    original = Forecast.check

    def hasty(self: Forecast, now: float, rows: int, ahead_rows: int, *rest: float) -> None:
        original(self, now, rows, ahead_rows, *rest)
        if ahead_rows and self.wait_s(now, rows, ahead_rows) > 0:
            raise Overloaded("as a precaution", Bound.DEADLINE)

    patch.setattr(Forecast, "check", hasty)


@planted(seen_by=20)
def old_evidence_counts_for_ever(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.offer

    def stubborn(self: Backlog[Any], entry: Any) -> None:  # noqa: ANN401
        if self._forecast.cost.batches:
            self._forecast.trusted_until_s = 1e9
        original(self, entry)

    patch.setattr(Backlog, "offer", stubborn)


@planted(seen_by=1)
def the_late_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    def unsettled(_self: Batcher, tickets: Sequence[Ticket], why: str, _now: float) -> None:
        for ticket in tickets:
            ticket.fail(DeadlineExceeded(why))

    patch.setattr(Batcher, "_fail_late", unsettled)


@planted(seen_by=40)
def a_batch_is_stopped_when_its_first_member_leaves(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.withdraw

    def rash(self: Batcher, ticket: Ticket) -> None:
        original(self, ticket)
        for running in self._running:
            if running.work.tickets[0] is ticket:
                running.work.control.stop()

    patch.setattr(Batcher, "withdraw", rash)


@planted(seen_by=5)
def priorities_do_not_age(patch: pytest.MonkeyPatch) -> None:
    original = Precedence.__init__

    def ageless(self: Precedence[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, replace(options, aging_s=1e6), *rest)

    patch.setattr(Precedence, "__init__", ageless)


@planted(seen_by=12)
def what_is_served_is_not_charged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "charge", nothing)


@planted(seen_by=218)
def who_was_quiet_has_saved_up(patch: pytest.MonkeyPatch) -> None:
    original = Precedence.add

    def generous(self: Precedence[Any], entry: Any, lane: Any) -> None:  # noqa: ANN401
        served, self._served_tag = self._served_tag, 0.0
        original(self, entry, lane)
        self._served_tag = served

    patch.setattr(Precedence, "add", generous)


@planted(seen_by=115)
def who_left_for_a_moment_owes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "_remember", nothing)


@planted(seen_by=12)
def weights_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FairnessOptions, "weight_of", lambda _self, _caller: 1.0)


@planted(seen_by=3)
def one_caller_may_fill_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "exceeds_share", lambda *_: False)


@planted(seen_by=0)
def a_priority_is_not_passed_on(patch: pytest.MonkeyPatch) -> None:
    original = InferenceService.infer

    def deaf(self: InferenceService, request: Any, responder: Any) -> object:  # noqa: ANN401
        request.priority = 1
        return original(self, request, responder)

    patch.setattr(InferenceService, "infer", deaf)


@planted(seen_by=1)
def the_expired_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._expire

    def unsettled(self: Batcher, now: float) -> None:
        settled, self._settled = self._settled, nothing
        original(self, now)
        self._settled = settled

    patch.setattr(Batcher, "_expire", unsettled)


@planted(seen_by=1)
def no_timer_is_ever_set(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Alarm, "set", nothing)


@planted(seen_by=1)
def timers_are_set_for_now(patch: pytest.MonkeyPatch) -> None:
    original = Alarm.set
    patch.setattr(Alarm, "set", lambda self, _at_s: original(self, self._clock.monotonic()))


@planted(seen_by=0)
def timers_outlive_their_batcher(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "close", nothing)


@planted(seen_by=6)
def a_delay_lasts_longer_than_it_says(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def slow(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, replace(options, delay_s=3 * options.delay_s), *rest)

    patch.setattr(Backlog, "__init__", slow)


@planted(seen_by=0)
def a_full_batch_waits_for_the_delay(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def patient(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, options, *rest)
        self._worthwhile_rows = 1 << 30

    patch.setattr(Backlog, "__init__", patient)
