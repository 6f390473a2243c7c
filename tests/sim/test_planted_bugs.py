"""Whether the simulation would notice: each planted bug must be found within some dozens of seeds, by whatever check.

``test_simulation`` shows that the same seeds find nothing where nothing is planted.
"""
# ruff: noqa: SLF001 - a bug is planted in private parts

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shoal_server.admission.gate import Gate
from shoal_server.batching import backlog, execution, sharer
from shoal_server.batching.answer_cache import AnswerCache, KeptAnswer
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.decision import Dispatch
from shoal_server.batching.execution import BatchExecution, Control
from shoal_server.batching.flight import Flight
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.joining import Limits, join
from shoal_server.batching.lane import Lane
from shoal_server.batching.parts import Part, Split
from shoal_server.batching.precedence import Precedence
from shoal_server.batching.sharer import Sharer
from shoal_server.batching.slots import Slots
from shoal_server.batching.splitter import Splitter
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import Bound, DeadlineExceeded, Overloaded
from shoal_server.lifecycle import desired as wanted
from shoal_server.lifecycle.catalog import Catalog
from shoal_server.lifecycle.changing import Changing
from shoal_server.lifecycle.keeper import Keeper
from shoal_server.lifecycle.loading import Loading
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.record import Record
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.turns import Turns
from shoal_server.options import BatchingOptions, FairnessOptions
from shoal_server.service import InferenceService
from shoal_server.tensors.batch import WHOLE, OutputBlock, assemble
from shoal_server.tensors.padding import cut
from shoal_testing.fake_model import Kind, signature
from shoal_testing.fakes import FakeStore
from shoal_testing.scenario import drawn
from shoal_testing.simulation import simulate

ENOUGH_SEEDS = 200

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, Plant] = {}


def planted(plant: Plant) -> Plant:
    PLANTS[plant.__name__] = plant
    return plant


def nothing(*_: object) -> None:
    """In place of a method that does something."""


@planted
def cancelled_requests_stay_in_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "withdraw", lambda _self, ticket: ticket.leave())


@planted
def cancelled_requests_are_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ticket, "leave", lambda _self: False)


@planted
def a_request_is_lost_between_line_and_batch(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.next

    def lossy(self: Backlog[Any], now: float, free_slots: int) -> object:
        decision = original(self, now, free_slots)
        if isinstance(decision, Dispatch) and len(decision.entries) > 2:
            return decision._replace(entries=decision.entries[:-1])
        return decision

    patch.setattr(Backlog, "next", lossy)


@planted
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


@planted
def the_answers_of_two_neighbours_are_swapped(patch: pytest.MonkeyPatch) -> None:
    def swapped(signature: Any, members: Sequence[Any], padded_rows: int) -> object:  # noqa: ANN401
        return assemble(signature, members[::-1], padded_rows)

    patch.setattr(execution, "assemble", swapped)


@planted
def every_member_is_answered_with_the_whole_batch(patch: pytest.MonkeyPatch) -> None:
    original = Ticket.succeed
    patch.setattr(Ticket, "succeed", lambda self, outputs, _start, _rows: original(self, outputs, 0, WHOLE))


@planted
def a_member_gets_the_rows_after_its_own(patch: pytest.MonkeyPatch) -> None:
    original = Ticket.succeed

    def late(self: Ticket, outputs: Any, start: int, rows: int) -> bool:  # noqa: ANN401
        return original(self, outputs, start + (start > 0), rows)

    patch.setattr(Ticket, "succeed", late)


@planted
def an_error_is_answered_twice(patch: pytest.MonkeyPatch) -> None:
    def twice(self: Ticket, error: Any) -> bool:  # noqa: ANN401
        for responder in self._responder:
            responder.fail(error)
            responder.fail(error)
        self._responder.clear()
        return True

    patch.setattr(Ticket, "fail", twice)


@planted
def an_answer_names_another_version(patch: pytest.MonkeyPatch) -> None:
    original = BatchExecution.__init__

    def lying(self: BatchExecution, origin: Origin, *rest: Any) -> None:  # noqa: ANN401
        original(self, origin._replace(version=origin.version + 1), *rest)

    patch.setattr(BatchExecution, "__init__", lying)


@planted
def one_bad_member_fails_its_batch(patch: pytest.MonkeyPatch) -> None:
    def all_fail(_self: BatchExecution, tickets: Sequence[Ticket], error: Any, *, pad: bool) -> None:  # noqa: ANN401
        del pad
        for ticket in tickets:
            ticket.fail(error)

    patch.setattr(BatchExecution, "_isolate", all_fail)


@planted
def keys_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def one_lane(self: Backlog[Any], _entry: object) -> object:
        return self._lanes.setdefault((), Lane(()))

    patch.setattr(Backlog, "_lane_of", one_lane)


@planted
def batches_are_larger_than_allowed(patch: pytest.MonkeyPatch) -> None:
    original = Backlog._take

    def greedy(self: Backlog[Any], lane: Any, now: float, *, mature: bool) -> object:  # noqa: ANN401
        declared = self._options
        self._options = replace(declared, max_rows=declared.max_rows + 1)
        try:
            return original(self, lane, now, mature=mature)
        finally:
            self._options = declared

    patch.setattr(Backlog, "_take", greedy)


@planted
def padding_is_not_bounded(patch: pytest.MonkeyPatch) -> None:
    original = Limits.of

    def lavish(forecast: Forecast, rows: int, padded: Callable[[int], int]) -> Limits:
        return original(forecast, rows, padded)._replace(padding=1e9)

    patch.setattr(Limits, "of", lavish)


@planted
def batches_have_more_cells_than_allowed(patch: pytest.MonkeyPatch) -> None:
    original = Limits.of

    def lavish(forecast: Forecast, rows: int, padded: Callable[[int], int]) -> Limits:
        return original(forecast, rows, padded)._replace(cells=1e9)

    patch.setattr(Limits, "of", lavish)


@planted
def the_next_length_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    def picky(buckets: Sequence[int], first: int, *rest: Any) -> object:  # noqa: ANN401
        return join([bucket for bucket in buckets if bucket % 2 == first % 2], first, *rest)

    patch.setattr(backlog, "join", picky)


@planted
def answers_keep_their_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(execution, "is_cut", lambda *_: False)


@planted
def answers_are_cut_to_the_length_of_the_first(patch: pytest.MonkeyPatch) -> None:
    def alike(signature: Any, arrays: Any, members: Sequence[Any], sizes: tuple[int, int]) -> object:  # noqa: ANN401
        return cut(signature, arrays, [one._replace(length=members[0].length) for one in members], sizes)

    patch.setattr(execution, "cut", alike)


@planted
def the_newest_request_goes_first(patch: pytest.MonkeyPatch) -> None:
    def newest(self: Backlog[Any], _now: float) -> object:
        return self._line[next(reversed(self._line))], True

    patch.setattr(Backlog, "_choose", newest)


@planted
def nobody_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "expire", lambda _self, _now: [])


@planted
def batches_are_started_for_who_will_be_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Forecast, "safe_execution_s", lambda _self, _now, _rows: 0.0)


@planted
def who_could_be_answered_in_time_is_refused(patch: pytest.MonkeyPatch) -> None:
    original = Forecast.check

    def hasty(self: Forecast, now: float, rows: int, ahead_rows: int, *rest: float) -> None:
        original(self, now, rows, ahead_rows, *rest)
        if ahead_rows and self.wait_s(now, rows, ahead_rows) > 0:
            raise Overloaded("as a precaution", Bound.DEADLINE)

    patch.setattr(Forecast, "check", hasty)


@planted
def old_evidence_counts_for_ever(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.offer

    def stubborn(self: Backlog[Any], entry: Any) -> None:  # noqa: ANN401
        if self._forecast.cost.batches:
            self._forecast.trusted_until_s = 1e9
        original(self, entry)

    patch.setattr(Backlog, "offer", stubborn)


@planted
def the_late_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    def unsettled(_self: Batcher, tickets: Sequence[Ticket], why: str, _now: float) -> None:
        for ticket in tickets:
            ticket.fail(DeadlineExceeded(why))

    patch.setattr(Batcher, "_fail_late", unsettled)


@planted
def a_batch_is_stopped_when_its_first_member_leaves(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.withdraw

    def rash(self: Batcher, ticket: Ticket) -> None:
        original(self, ticket)
        for running in self._running:
            if running.work.tickets[0] is ticket:
                running.work.control.stop()

    patch.setattr(Batcher, "withdraw", rash)


@planted
def priorities_do_not_age(patch: pytest.MonkeyPatch) -> None:
    original = Precedence.__init__

    def ageless(self: Precedence[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, replace(options, aging_s=1e6), *rest)

    patch.setattr(Precedence, "__init__", ageless)


@planted
def what_is_served_is_not_charged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "charge", nothing)


@planted
def who_was_quiet_has_saved_up(patch: pytest.MonkeyPatch) -> None:
    original = Precedence.add

    def generous(self: Precedence[Any], entry: Any, lane: Any) -> None:  # noqa: ANN401
        served, self._served_tag = self._served_tag, 0.0
        original(self, entry, lane)
        self._served_tag = served

    patch.setattr(Precedence, "add", generous)


@planted
def who_left_for_a_moment_owes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "_remember", nothing)


@planted
def weights_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FairnessOptions, "weight_of", lambda _self, _caller: 1.0)


@planted
def one_caller_may_fill_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Precedence, "exceeds_share", lambda *_: False)


@planted
def a_priority_is_not_passed_on(patch: pytest.MonkeyPatch) -> None:
    original = InferenceService.infer

    def deaf(self: InferenceService, request: Any, responder: Any) -> object:  # noqa: ANN401
        request.priority = 1
        return original(self, request, responder)

    patch.setattr(InferenceService, "infer", deaf)


@planted
def the_expired_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._expire

    def unsettled(self: Batcher, now: float) -> None:
        settled, self._settled = self._settled, nothing
        original(self, now)
        self._settled = settled

    patch.setattr(Batcher, "_expire", unsettled)


@planted
def no_timer_is_ever_set(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_wake_at", nothing)


@planted
def timers_are_set_for_now(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._wake_at
    patch.setattr(Batcher, "_wake_at", lambda self, _at_s: original(self, self._clock.monotonic()))


@planted
def timers_outlive_their_batcher(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "close", nothing)


@planted
def a_delay_lasts_longer_than_it_says(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def slow(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, replace(options, delay_s=3 * options.delay_s), *rest)

    patch.setattr(Backlog, "__init__", slow)


@planted
def a_full_batch_waits_for_the_delay(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def patient(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        original(self, options, *rest)
        self._worthwhile_rows = 1 << 30

    patch.setattr(Backlog, "__init__", patient)


@planted
def a_slot_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "give_back", nothing)


@planted
def nobody_hears_of_a_free_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "wait", nothing)


@planted
def the_end_of_a_batch_starts_no_other(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._ended

    def silent(self: Batcher, running: Any, report: Any) -> None:  # noqa: ANN401
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Batcher, "pump", nothing)
            original(self, running, report)

    patch.setattr(Batcher, "_ended", silent)


@planted
def more_batches_run_than_there_are_instances(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.pump

    def unlimited(self: Batcher) -> None:
        declared, self.instances = self.instances, 1000
        original(self)
        self.instances = declared

    patch.setattr(Batcher, "pump", unlimited)


@planted
def hung_batches_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_abandon_hung", nothing)


@planted
def hung_batches_keep_their_slot(patch: pytest.MonkeyPatch) -> None:
    original = Batcher._abandon_hung

    def keeping(self: Batcher, now: float) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Slots, "give_back", nothing)
            original(self, now)

    patch.setattr(Batcher, "_abandon_hung", keeping)


@planted
def hung_runs_are_not_interrupted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Control, "stop", nothing)


@planted
def the_line_has_no_bounds(patch: pytest.MonkeyPatch) -> None:
    original = Backlog.__init__

    def unbounded(self: Backlog[Any], options: BatchingOptions, *rest: Any) -> None:  # noqa: ANN401
        huge = 1 << 40
        wide = replace(options, max_queued_requests=huge, max_queued_rows=huge, max_queued_bytes=huge)
        original(self, wide, *rest)

    patch.setattr(Backlog, "__init__", unbounded)


@planted
def the_gate_is_always_open(patch: pytest.MonkeyPatch) -> None:
    def admit(self: Gate, rows: int, size_bytes: int, caller: str, _now: float) -> str:
        self.requests += 1
        self.rows += rows
        self.size_bytes += size_bytes
        return caller

    patch.setattr(Gate, "admit", admit)


@planted
def bytes_are_never_released(patch: pytest.MonkeyPatch) -> None:
    original = Gate.release
    patch.setattr(Gate, "release", lambda self, rows, _size_bytes, account: original(self, rows, 0, account))


@planted
def a_refusal_by_the_line_keeps_its_lease(patch: pytest.MonkeyPatch) -> None:
    original = VersionSlot.release

    def forgetful(self: VersionSlot[Any], leases: int | None = None) -> None:
        if leases is not None:
            original(self, leases)

    patch.setattr(VersionSlot, "release", forgetful)


@planted
def a_leased_model_is_unloaded(patch: pytest.MonkeyPatch) -> None:
    async def at_once(_self: object) -> None:
        await asyncio.sleep(0)

    patch.setattr(VersionSlot, "drained", at_once)


@planted
def two_versions_share_a_line(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.__init__
    lines: dict[object, Backlog[Ticket]] = {}

    def sharing(self: Batcher, origin: Origin, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        original(self, origin, *rest, **more)
        self._backlog = lines.setdefault((origin.model, more["slots"]), self._backlog)

    patch.setattr(Batcher, "__init__", sharing)


@planted
def the_catalog_is_not_renewed_when_versions_leave(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.withdraw

    def stale(self: Keeper[Any], slots: Any, reason: str = "") -> None:  # noqa: ANN401
        before = self.catalog
        original(self, slots, reason)
        self.catalog = before

    patch.setattr(Keeper, "withdraw", stale)


@planted
def the_old_version_is_withdrawn_before_the_new_one_works(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.load

    async def hasty(self: Keeper[Any], slot: VersionSlot[Any], *rest: Any) -> bool:  # noqa: ANN401
        entry = self.catalog.models[slot.model]
        self.withdraw([old for old in entry.versions.values() if old.state is VersionState.READY])
        return await original(self, slot, *rest)

    patch.setattr(Keeper, "load", hasty)


@planted
def a_failed_load_takes_the_old_version_with_it(patch: pytest.MonkeyPatch) -> None:
    original = Manager._converge

    async def vindictive(self: Manager[Any], definition: Any, versions: Any) -> list[str]:  # noqa: ANN401
        failures = await original(self, definition, versions)
        if failures:
            self.keeper.withdraw(self.catalog.models[definition.name].versions.values())
        return failures

    patch.setattr(Manager, "_converge", vindictive)


@planted
def what_a_swap_replaced_is_never_withdrawn(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.publish

    def forgetful(self: Keeper[Any], slot: VersionSlot[Any]) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Keeper, "withdraw", nothing)
            original(self, slot)

    patch.setattr(Keeper, "publish", forgetful)


@planted
def an_old_version_is_never_unloaded(patch: pytest.MonkeyPatch) -> None:
    async def keep(_self: object, slot: VersionSlot[Any], _loaded: object) -> str:
        if slot.engine is not None:
            slot.engine.close()
        return ""

    patch.setattr(Keeper, "_give_back", keep)


@planted
def an_empty_version_means_the_oldest(patch: pytest.MonkeyPatch) -> None:
    original = Catalog.resolve

    def oldest(self: Catalog[Any], model: str, version: str) -> object:
        entry = self.models.get(model)
        return original(self, model, version or (str(min(entry.versions)) if entry else ""))

    patch.setattr(Catalog, "resolve", oldest)


@planted
def a_dry_run_changes_what_serves(patch: pytest.MonkeyPatch) -> None:
    original = Changing._change

    def serious(self: Changing[Any], operation: Any, change: Any) -> Any:  # noqa: ANN401
        operation.request = replace(operation.request, dry_run=False)
        if change.slot is not None:
            change.slot.trial = False
        return original(self, operation, change)

    patch.setattr(Changing, "_change", serious)


@planted
def what_is_wanted_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    async def forget(_self: object, _model: str, _desired: object) -> str:
        await asyncio.sleep(0)
        return ""

    patch.setattr(Record, "put", forget)


@planted
def a_change_that_cannot_be_recorded_is_recorded_by_the_next(patch: pytest.MonkeyPatch) -> None:
    original = FakeStore.write

    def late(self: FakeStore, desired: Any) -> None:  # noqa: ANN401
        self.desired = desired
        original(self, desired)

    patch.setattr(FakeStore, "write", late)


@planted
def a_failed_swap_changes_what_is_wanted(patch: pytest.MonkeyPatch) -> None:
    original = Changing._slot

    async def early(self: Changing[Any], operation: Any, version: int) -> Any:  # noqa: ANN401
        entry = self._keeper.entry(operation.request.model)
        desired = wanted.pinned(entry.desired, entry.ready, entry.answering.version if entry.answering else 0)
        self._keeper.choose(operation.request.model, wanted.loaded(desired, version))
        return await original(self, operation, version)

    patch.setattr(Changing, "_slot", early)


@planted
def a_swap_withdraws_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    original = Changing._recorded

    async def hasty(self: Changing[Any], operation: Any, change: Any) -> str:  # noqa: ANN401
        versions = self._keeper.entry(operation.request.model).versions
        self._keeper.withdraw(versions[number] for number in change.leaving)
        return await original(self, operation, change)

    patch.setattr(Changing, "_recorded", hasty)


@planted
def a_swap_leaves_callers_with_the_old_version(patch: pytest.MonkeyPatch) -> None:
    original = wanted.swapped

    def stuck(desired: Any, version: int, replaced: int) -> Any:  # noqa: ANN401
        return replace(original(desired, version, replaced), current=replaced or version)

    patch.setattr(wanted, "swapped", stuck)


@planted
def two_operations_on_a_model_run_at_once(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Turns, model: str, what: str, work: Any) -> None:  # noqa: ANN401
        self._last.pop(model, None)
        _ = self._queue(model, what, work, lambda: True)

    patch.setattr(Turns, "begin", at_once)


@planted
def what_was_replaced_is_kept_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keeper, "_cool", nothing)


@planted
def a_load_that_hangs_is_never_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Loading, "_give_up", nothing)


@planted
def a_load_that_was_given_up_keeps_its_model(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keeper, "fail", _fail_without_closing)


async def _fail_without_closing(self: Keeper[Any], slot: VersionSlot[Any], problem: str) -> None:
    slot.loaded = None
    self._move(slot, VersionState.FAILED, problem)
    await asyncio.sleep(0)


@planted
def large_batches_are_never_run(patch: pytest.MonkeyPatch) -> None:
    original = BatchExecution._run

    def fragile(self: BatchExecution, tickets: Sequence[Ticket], *, pad: bool) -> None:
        if len(tickets) > 3:
            self.tickets = tickets[:1]
        else:
            original(self, tickets, pad=pad)

    patch.setattr(BatchExecution, "_run", fragile)


@planted
def parts_are_joined_in_the_order_of_their_ends(patch: pytest.MonkeyPatch) -> None:
    original = Split.take
    patch.setattr(Split, "take", lambda self, _number, *rest: original(self, len(self._pieces), *rest))


@planted
def a_request_is_answered_without_its_last_part(patch: pytest.MonkeyPatch) -> None:
    original = Split.__init__

    def short(self: Split, *arguments: Any, may_grow: bool) -> None:  # noqa: ANN401
        original(self, *arguments, may_grow=may_grow)
        self.parts -= 1

    patch.setattr(Split, "__init__", short)


@planted
def a_part_that_fails_fails_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "fail", lambda self, *_: bool(self._responder and self._responder.pop()))


@planted
def a_part_that_was_computed_fails_with_its_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "fail", lambda self, error, outcome=None: self.split.ticket.fail(error, outcome))


@planted
def parts_of_those_who_left_stay_in_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Splitter, "left", nothing)


@planted
def a_request_in_parts_is_not_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_whole_over", nothing)


@planted
def a_request_in_parts_is_settled_with_its_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Split, "over", property(lambda self: bool(self._pieces)))


@planted
def the_next_part_never_comes(patch: pytest.MonkeyPatch) -> None:
    original = Split.next_parts
    patch.setattr(
        Split, "next_parts", lambda self, *rest: [] if self.dispatched_s is not None else original(self, *rest)
    )


@planted
def a_part_that_cannot_be_told_by_rows_is_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "is_part", False)


@planted
def a_failure_is_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flight, "fail", lambda self, error, _outcome=None: [one.fail(error) for one in self.followers])


@planted
def who_joins_while_it_ends_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = Sharer._over

    def hasty(self: Sharer, flight: Flight, now: float) -> None:
        if flight.answer is not None:
            flight.followers = [one for one in flight.followers if one.answered]
        original(self, flight, now)

    patch.setattr(Sharer, "_over", hasty)


@planted
def all_contents_are_alike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sharer, "content_key", lambda _ticket: b"")


@planted
def failed_answers_are_kept(patch: pytest.MonkeyPatch) -> None:
    original = Flight.fail

    def kept(self: Flight, *rest: Any) -> bool:  # noqa: ANN401
        blocks = tuple(OutputBlock(spec, (0, 1), b"") for spec in signature(Kind.ROWS).outputs)
        self.kept = KeptAnswer(Outputs(Origin("m0", 1, 1), blocks, ()), 0)
        return original(self, *rest)

    patch.setattr(Flight, "fail", kept)


@planted
def another_version_s_answers_are_given(patch: pytest.MonkeyPatch) -> None:
    everything = AnswerCache(1 << 20, 1e9)
    patch.setattr(sharer, "AnswerCache", lambda *_: everything)
    patch.setattr(AnswerCache, "clear", nothing)


@planted
def those_whose_answers_are_known_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    original = Sharer.answer_known

    def unsettled(self: Sharer) -> None:
        settled, self._settled = self._settled, nothing
        original(self)
        self._settled = settled

    patch.setattr(Sharer, "answer_known", unsettled)


@planted
def who_must_wait_less_may_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flight, "takes", lambda self, _ticket: bool(self._responder) and not self.deserted)


@pytest.mark.timeout(60)  # five seconds for all seeds, on a machine that has nothing else to do
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(
    plant: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    PLANTS[plant](monkeypatch)
    for seed in range(ENOUGH_SEEDS):
        try:
            simulate(drawn(seed))
        except Exception as finding:  # noqa: BLE001 - whichever check it is
            record_property("found", f"by seed {seed}: {finding!r}")
            return
    pytest.fail(f"{ENOUGH_SEEDS} seeds did not find that {plant.replace('_', ' ')}")
