"""The shell around the backlog, within the whole core: who is answered when, and that everything is given back."""

import asyncio
from collections.abc import Callable

import pytest

from shoal_server.batching.outcome import Outcome
from shoal_server.errors import DeadlineExceeded, ExecutionFailed, InternalError, Overloaded, Unavailable
from shoal_server.events import BatchingStopped, Event, ExecutionAbandoned, ExecutionBroken, VersionChanged
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingOptions, RuntimeOptions
from shoal_testing.core import Core, Sent, rows_of, run_core, wait
from shoal_testing.fake_model import SERIALS, FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import definition
from shoal_testing.virtual_time import START_S

RUN_S = 0.010

Make = Callable[[Core, ModelDefinition, int], FakeModel]


def making(kind: Kind = Kind.ROWS, poisons: dict[int, Poison] | None = None, *, obeys: bool = True) -> Make:
    return lambda core, _definition, _version: FakeModel(
        kind, threads=core.threads, speed=Speed(RUN_S), poisons=poisons, obeys=obeys
    )


def numbers(sent: Sent) -> list[int]:
    """Return the rows that an answer was made from."""
    return [int(cell) // SERIALS for cell in sent.answer.array()[:, 0]]


def after_s(sent: Sent) -> float:
    """Return when the answer came, since the start."""
    return sent.answer.at_s - START_S


def test_requests_that_come_while_all_slots_are_busy_run_together_next() -> None:
    async def test(core: Core) -> None:
        first = core.send(1)
        later = [core.send(number) for number in (2, 3, 4)]
        await wait(1)
        assert core.model.runs == [[1], [2, 3, 4]]
        assert [numbers(sent) for sent in (first, *later)] == [[1], [2], [3], [4]]
        assert [after_s(sent) for sent in (first, *later)] == pytest.approx([RUN_S, *[2 * RUN_S] * 3])

    run_core(test, make=making())


def test_a_batch_forms_from_all_requests_between_two_flushes() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in (1, 2, 3)]
        core.service.flush()
        await wait(1)
        assert core.model.runs == [[1, 2, 3]]
        assert [numbers(one) for one in sent] == [[1], [2], [3]]

    run_core(test, make=making())


def test_a_delay_gathers_requests_while_slots_are_free_and_no_longer_than_it_says() -> None:
    async def test(core: Core) -> None:
        sent = []
        for number in (1, 2, 3, 4):
            sent.append(core.send(number))
            await wait(0.02)
        await wait(1)
        assert core.model.runs == [[1, 2, 3], [4]]
        assert [after_s(one) for one in sent] == pytest.approx([0.05 + RUN_S] * 3 + [0.11 + RUN_S])

    run_core(test, definition("m", batching=BatchingOptions(delay_s=0.05)), make=making(), slots=4)


def test_a_version_that_is_withdrawn_holds_no_incomplete_batch_back() -> None:
    async def test(core: Core) -> None:
        sent = core.send(1)
        await wait(0.01)
        core.batcher.hurry()
        await wait(1)
        assert after_s(sent) == pytest.approx(0.01 + RUN_S)

    run_core(test, definition("m", batching=BatchingOptions(delay_s=30.0)), make=making(), slots=4)


def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    async def test(core: Core) -> None:
        first, second = core.send([1, 2]), core.send([3, 4])
        await wait(0.02)
        assert (numbers(first), numbers(second)) == ([1, 2], [3, 4])

    run_core(test, definition("m", batching=BatchingOptions(delay_s=5.0, max_rows=4)), make=making())


def test_no_more_batches_of_a_model_run_at_once_than_it_has_instances() -> None:
    async def test(core: Core) -> None:
        for number in range(6):
            core.send(number)
        assert core.batcher.running == 2
        assert core.slots.free == 2
        await wait(1)
        assert core.model.runs == [[0], [1], [2, 3, 4, 5]]

    run_core(test, definition("m", runtime=RuntimeOptions(instances=2)), make=making(), slots=4)


def test_a_request_cancelled_while_it_waits_is_never_computed_and_frees_its_place_at_once() -> None:
    async def test(core: Core) -> None:
        first = core.send(1)
        waiting = [core.send(number) for number in (2, 3)]
        assert isinstance(core.send(4).refusal, Overloaded)
        waiting[0].cancel()
        assert core.gate.requests == 2
        replacement = core.send(5)
        await wait(1)
        assert core.model.runs == [[1], [3, 5]]
        assert not waiting[0].responder.answers
        assert [numbers(sent) for sent in (first, waiting[1], replacement)] == [[1], [3], [5]]
        assert core.batcher.statistics.fail.count == 1

    run_core(test, definition("m", batching=BatchingOptions(max_queued_requests=2)), make=making())


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    ("left_s", "outcome"), [(0.001, Outcome.CANCELLED), (0.004, Outcome.DEADLINE), (0.005, Outcome.DEADLINE)]
)
def test_a_call_that_its_transport_ends_at_its_deadline_did_not_leave(
    left_s: float, outcome: Outcome, *, running: bool
) -> None:
    async def test(core: Core) -> None:
        if not running:
            core.send(1)
        sent: list[Sent] = []

        def leave() -> None:
            sent[0].cancel()

        # Before the batcher's own timer of the same instant, as with a transport that keeps deadlines itself.
        asyncio.get_running_loop().call_at(START_S + left_s, leave)
        sent.append(core.send(2, within_s=0.004))
        await wait(1)
        failures = {kind: count for kind, count in core.batcher.statistics.failures.items() if count}
        assert failures == {outcome: 1}
        assert len(sent[0].responder.answers) == (left_s > 0.004 and not running), "then the timer came first"

    run_core(test, make=making())


@pytest.mark.parametrize("at_s", [0.0, RUN_S / 2, RUN_S], ids=["not_started", "computing", "before_the_loop_heard"])
@pytest.mark.parametrize("leaver", range(5))
def test_member_i_of_n_that_cancels_during_execution_disturbs_no_other(leaver: int, at_s: float) -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(5)]
        core.service.flush()
        await wait(0.005 + at_s)
        sent[leaver].cancel()
        await wait(1)
        others = [one for number, one in enumerate(sent) if number != leaver]
        assert [numbers(one) for one in others] == [[number] for number in range(5) if number != leaver]
        assert [after_s(one) for one in others] == pytest.approx([0.005 + RUN_S] * 4)
        assert len(core.model.runs) == 1
        assert len(sent[leaver].responder.answers) == (at_s == RUN_S)

    run_core(test, make=making(), start_after_s=lambda: 0.005, done_after_s=lambda: 0.005)


@pytest.mark.parametrize("members", [1, 3])
def test_a_batch_that_nobody_waits_for_any_more_is_stopped_and_its_slot_is_free_at_once(members: int) -> None:
    async def test(core: Core) -> None:
        leaving = [core.offer(rows_of(number)) for number in range(members)]
        core.service.flush()
        next_one = core.send(100)
        await wait(RUN_S / 2)
        for one in leaving:
            one.cancel()
        await wait(1)
        assert after_s(next_one) == pytest.approx(RUN_S / 2 + RUN_S)
        assert core.batcher.statistics.execution_count == 1
        assert core.batcher.forecast.cost.batches == 1, "a run that was stopped says nothing of what a batch takes"

    run_core(test, make=making())


def test_a_batch_that_one_caller_still_waits_for_is_not_stopped() -> None:
    async def test(core: Core) -> None:
        first, second = core.offer(rows_of(1)), core.offer(rows_of(2))
        core.service.flush()
        await wait(RUN_S / 2)
        second.cancel()
        await wait(1)
        assert after_s(first) == pytest.approx(RUN_S)
        assert numbers(first) == [1]

    run_core(test, make=making())


def test_expired_members_leave_at_their_deadline_while_every_slot_is_busy() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        waiting = core.send(2, within_s=0.004)
        await wait(1)
        assert isinstance(waiting.error, DeadlineExceeded)
        assert after_s(waiting) == pytest.approx(0.004)
        assert core.model.seen == {1}

    run_core(test, make=making())


def test_once_it_is_known_what_a_batch_takes_who_has_less_time_is_refused_and_the_neighbours_are_served() -> None:
    async def test(core: Core) -> None:
        for number in range(4):
            core.send(number)
            await wait(2 * RUN_S)
        hopeless = core.send(10, within_s=0.8 * RUN_S)
        assert isinstance(hopeless.refusal, DeadlineExceeded)
        running = core.send(11, within_s=1.2 * RUN_S)
        late = core.send(12, within_s=1.2 * RUN_S)
        assert isinstance(late.refusal, Overloaded)
        assert late.refusal.retry_after_s == pytest.approx(0.8 * RUN_S + RUN_S / 8), "an eighth of the wait is doubt"
        in_time = core.send(13, within_s=2.2 * RUN_S)
        await wait(1)
        assert numbers(running) == [11]
        assert numbers(in_time) == [13]
        await wait(10)
        assert core.send(14, within_s=0.8 * RUN_S).refusal is None, "what was known is old: measured anew"
        await wait(1)

    run_core(test, make=making())


def test_a_member_that_cancels_between_two_answers_of_its_batch_disturbs_no_other() -> None:
    async def test(core: Core) -> None:
        def pause() -> None:
            core.threads.pause(0.001)

        sent = [core.offer(rows_of(number), before=pause) for number in range(4)]
        core.service.flush()
        await wait(RUN_S + 0.0015)  # the second answer is being given
        for one in sent:
            one.cancel()
        await wait(1)
        assert [len(one.responder.answers) for one in sent] == [1, 1, 0, 0]

    run_core(test, make=making())


def test_where_all_members_leave_before_dispatch_the_model_is_not_called_and_nothing_spins() -> None:
    async def test(core: Core) -> None:
        sent = [core.send(number) for number in (1, 2, 3)]
        for one in sent:
            one.cancel()
        await wait(100)
        assert core.model.runs == []
        assert core.executor.submitted == 0
        assert not core.loop.timers()

    run_core(test, definition("m", batching=BatchingOptions(delay_s=0.05)), make=making())


def test_where_all_members_leave_before_the_thread_starts_the_model_is_not_called() -> None:
    async def test(core: Core) -> None:
        sent = [core.send(number) for number in (1, 2, 3)]
        for one in sent:
            one.cancel()
        await wait(1)
        assert core.model.runs == []

    run_core(test, make=making(), start_after_s=lambda: 0.005)


def test_a_deadline_that_passes_in_the_line_is_answered_then_and_the_request_is_not_computed() -> None:
    async def test(core: Core) -> None:
        slow = core.send([1])
        late, patient = core.send(2, within_s=RUN_S / 2), core.send(3)
        await wait(1)
        assert isinstance(late.error, DeadlineExceeded)
        assert after_s(late) == pytest.approx(RUN_S / 2)
        assert core.model.runs == [[1], [3]]
        assert [numbers(one) for one in (slow, patient)] == [[1], [3]]
        assert core.batcher.statistics.fail.count == 1

    run_core(test, make=making())


def test_a_deadline_that_passes_during_execution_does_not_take_the_answer_away() -> None:
    async def test(core: Core) -> None:
        sent = core.send(1, within_s=RUN_S / 2)
        await wait(1)
        assert numbers(sent) == [1]

    run_core(test, make=making())


def test_a_request_without_a_deadline_waits_no_longer_than_the_default() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        sent = core.send(2)
        await wait(1)
        assert isinstance(sent.error, DeadlineExceeded)
        assert after_s(sent) == pytest.approx(0.004)

    run_core(test, definition("m", batching=BatchingOptions(default_timeout_s=0.004)), make=making())


def test_the_member_at_fault_fails_alone() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(4)]
        core.service.flush()
        await wait(1)
        assert isinstance(sent[2].error, ExecutionFailed)
        assert sent[2].error.caller_at_fault
        assert [numbers(sent[number]) for number in (0, 1, 3)] == [[0], [1], [3]]
        assert core.batcher.statistics.success.count == 3

    run_core(test, make=making(poisons={2: Poison.REFUSED}))


def test_a_crash_in_the_model_is_told_to_the_observer_and_to_its_own_member_as_internal() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(2)]
        core.service.flush()
        await wait(1)
        assert isinstance(sent[1].error, InternalError)
        assert numbers(sent[0]) == [0]
        assert core.events.of(ExecutionBroken) == [ExecutionBroken("m", 1, "RuntimeError('crashed')")] * 2

    run_core(test, make=making(poisons={1: Poison.CRASH}))


def test_a_model_whose_outputs_cannot_be_split_runs_requests_one_by_one_from_then_on() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of([number, number])) for number in (1, 2)]
        core.service.flush()
        later = [core.send(number) for number in (3, 4)]
        await wait(1)
        more = [core.offer(rows_of(number)) for number in (5, 6)]
        core.service.flush()
        await wait(1)
        assert [numbers(one) for one in (*sent, *later, *more)] == [
            [1, 1, 0],
            [2, 2, 0],
            [3, 0],
            [4, 0],
            [5, 0],
            [6, 0],
        ]
        # Those who waited already had a key, so they are tried together once more.
        assert core.model.runs == [[1, 1, 2, 2], [1, 1], [2, 2], [3, 4], [3], [4], [5], [6]]
        assert core.events.of(BatchingStopped) == [BatchingStopped("m", 1)]
        assert "could not be split by rows" in core.batcher.reason

    run_core(test, make=making(Kind.MIXING))


def test_a_wrong_element_type_fails_each_member_once_and_the_slot_is_kept() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(3)]
        core.service.flush()
        await wait(1)
        assert [type(one.error) for one in sent] == [ExecutionFailed] * 3
        assert core.slots.free == 1

    run_core(test, make=making(Kind.LYING))


LIMITED = BatchingOptions(execution_limit_s=0.5)


@pytest.mark.parametrize("obeys", [True, False], ids=["obeys_the_interrupt", "hangs_on"])
def test_a_model_that_never_returns_fails_its_batch_at_the_limit_and_the_slot_is_replaced(obeys: bool) -> None:  # noqa: FBT001
    async def test(core: Core) -> None:
        hung = [core.offer(rows_of(number)) for number in (1, 2, 666)]
        core.service.flush()
        await wait(0.2)
        waiting = core.send(3)
        await wait(0.301)
        assert [type(one.error) for one in hung] == [ExecutionFailed] * 3
        assert [after_s(one) for one in hung] == pytest.approx([0.5] * 3)
        await wait(1)
        assert numbers(waiting) == [3]
        assert after_s(waiting) == pytest.approx(0.5 + RUN_S)
        assert core.events.of(ExecutionAbandoned) == [ExecutionAbandoned("m", 1, 3, 0.5)]
        assert core.threads.paused_for_ever == (not obeys)
        assert core.batcher.statistics.fail.count == 3

    run_core(test, definition("m", batching=LIMITED), make=making(poisons={666: Poison.HANG}, obeys=obeys))


def test_each_of_several_batches_is_given_up_at_its_own_limit() -> None:
    async def test(core: Core) -> None:
        sent = []
        for _ in range(2):
            sent.append(core.send(666))
            await wait(0.1)
        await wait(1)
        assert [after_s(one) for one in sent] == pytest.approx([0.5, 0.6])

    run_core(test, definition("m", batching=LIMITED), make=making(poisons={666: Poison.HANG}), slots=2)


def test_a_model_that_hangs_again_and_again_is_withdrawn_and_its_line_answered() -> None:
    async def test(core: Core) -> None:
        hung = [core.send(666)]
        for _ in range(2):
            await wait(0.501)
            hung.append(core.send(666))
        await wait(0.25)
        waiting = core.send(3)
        await wait(1)
        assert [type(one.error) for one in hung] == [ExecutionFailed] * 3
        assert isinstance(waiting.error, Unavailable)
        assert waiting.answer.at_s == hung[-1].answer.at_s
        assert core.model.runs == [[666]] * 3
        assert isinstance(core.send(4).refusal, Unavailable)
        assert core.manager.catalog.models["m"].newest_ready is None
        assert [event.state for event in core.events.of(VersionChanged)][-1] == "unloaded"
        assert "3 executions in a row did not finish within 0.5 s" in core.events.of(VersionChanged)[-1].reason

    run_core(test, definition("m", batching=LIMITED), make=making(poisons={666: Poison.HANG}))


def test_hanging_now_and_then_does_not_withdraw_a_model() -> None:
    async def test(core: Core) -> None:
        for _ in range(4):
            core.send(666)
            await wait(0.6)
            core.send(1)
            await wait(0.1)
        assert core.manager.catalog.models["m"].newest_ready is not None

    run_core(test, definition("m", batching=LIMITED), make=making(poisons={666: Poison.HANG}))


def test_answers_given_before_the_loop_heard_of_the_end_count_as_successes_though_the_limit_struck() -> None:
    async def test(core: Core) -> None:
        sent = [core.send(1), core.send(2)]
        await wait(2)
        assert [numbers(one) for one in sent] == [[1], [2]]
        statistics = core.batcher.statistics
        assert (statistics.success.count, statistics.fail.count) == (2, 0)
        assert (statistics.inference_count, statistics.execution_count) == (2, 2)

    run_core(test, definition("m", batching=LIMITED), make=making(), done_after_s=lambda: 0.8, slots=2)


def test_an_executor_that_takes_no_work_fails_the_batch_and_keeps_the_slot() -> None:
    def refuse(_work: object) -> None:
        if broken:
            raise RuntimeError(broken.pop())

    broken = ["can't start new thread"]

    async def test(core: Core) -> None:
        failed = [core.offer(rows_of(number)) for number in (1, 2)]
        core.service.flush()
        await wait(1)
        assert [type(one.error) for one in failed] == [InternalError] * 2
        assert core.events.of(ExecutionBroken) == [
            ExecutionBroken("m", 1, """RuntimeError("can't start new thread")""")
        ]
        later = core.send(3)
        await wait(1)
        assert numbers(later) == [3]

    run_core(test, make=making(), submitted=refuse)


def test_an_execution_whose_thread_cannot_be_replaced_is_given_up_all_the_same() -> None:
    async def test(core: Core) -> None:
        hung = [core.send(666), core.send(666)]
        for execution in core.executor.executions:
            abandon = execution.abandon

            def broken(abandon: Callable[[], None] = abandon) -> None:
                abandon()
                raise RuntimeError("can't start new thread")

            execution.abandon = broken  # type: ignore[method-assign]
        await wait(1)
        assert [type(one.error) for one in hung] == [ExecutionFailed] * 2
        assert [type(event) for event in core.events.events[3:]] == [
            ExecutionAbandoned,
            ExecutionBroken,
        ] * 2
        later = core.send(1)
        await wait(1)
        assert numbers(later) == [1]

    run_core(test, definition("m", batching=LIMITED), make=making(poisons={666: Poison.HANG}), slots=2)


class RaisingObserver:
    """Breaks its contract at every event that is not about a version's state."""

    def observe(self, event: Event) -> None:
        if not isinstance(event, VersionChanged):
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("kind", "poisons"),
    [(Kind.ROWS, {1: Poison.CRASH}), (Kind.MIXING, {}), (Kind.ROWS, {1: Poison.HANG})],
    ids=["crash", "mixing", "hang"],
)
def test_an_observer_that_raises_costs_no_answer_no_slot_and_no_lease(kind: Kind, poisons: dict[int, Poison]) -> None:
    async def test(core: Core) -> None:
        raised: list[object] = []
        core.loop.set_exception_handler(lambda _loop, context: raised.append(context["exception"]))
        sent = [core.offer(rows_of(number)) for number in (1, 2)]
        core.service.flush()
        waiting = core.send(3)
        await wait(2)
        assert all(len(one.responder.answers) == 1 for one in (*sent, waiting))
        assert [type(error) for error in raised] == [ZeroDivisionError] * len(raised)
        assert raised
        core.assert_at_rest()

    run_core(test, definition("m", batching=LIMITED), make=making(kind, poisons), observer=RaisingObserver())


def test_responders_that_raise_cost_no_slot_no_lease_and_no_neighbour_its_answer() -> None:
    async def test(core: Core) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        for within_s in (None, RUN_S / 2):
            core.send(0)
            sent = [core.send(1, before=broken, within_s=within_s), core.send(2, within_s=within_s)]
            await wait(1)
            assert [len(one.responder.answers) for one in sent] == [0, 1]

    run_core(test, make=making())


def test_a_quiet_model_gets_every_other_slot_from_a_hot_one() -> None:
    async def test(core: Core) -> None:
        quiet = []
        for step in range(50):
            for _ in range(20):
                core.send(step, model="hot")
            quiet.append(core.send(step, model="quiet"))
            await wait(0.0137)
        await wait(5)
        began = [START_S + step * 0.0137 for step in range(50)]
        worst = max(one.answer.at_s - at for one, at in zip(quiet, began, strict=True))
        assert worst <= 3 * RUN_S + 1e-9  # the rest of one batch of the other's, one more, and its own

    options = BatchingOptions(max_rows=4)
    run_core(test, definition("hot", batching=options), definition("quiet", batching=options), make=making())


def test_a_line_that_is_full_refuses_with_the_name_of_the_model() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        core.send(2)
        refusal = core.send(3).refusal
        assert isinstance(refusal, Overloaded)
        assert str(refusal) == "model 'm' is overloaded: 1 requests are waiting, the bound is 1"
        await wait(1)

    run_core(test, definition("m", batching=BatchingOptions(max_queued_requests=1)), make=making())


def test_an_idle_batcher_has_no_timer_once_the_execution_limit_of_its_last_batch_is_over() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        await wait(100)
        assert not core.loop.timers()

    run_core(test, make=making())


def test_a_version_that_is_broken_while_nobody_waits_has_nobody_to_answer() -> None:
    async def test(core: Core) -> None:
        sent = core.send(1)
        core.batcher.fail_waiting(Unavailable("broken"))
        await wait(1)
        assert numbers(sent) == [1]

    run_core(test, make=making())


def test_a_batcher_describes_itself() -> None:
    async def test(core: Core) -> None:
        assert core.batcher.reason == core.model.batching_reason
        core.send(1)
        core.send([2, 3])
        assert repr(core.batcher) == "<Batcher m/1: <Backlog 1 requests, 2 rows in 1 lanes>, 1 running>"
        await wait(1)

    run_core(test, make=making())
