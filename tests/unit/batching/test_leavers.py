"""Those who leave a batch or the line, within the whole core: nobody else notices, and nothing is kept for them."""

import asyncio

import pytest

from shoal_server.batching.outcome import Outcome
from shoal_server.errors import Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, Sent, rows_of, run_core, wait
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, after_s, making, numbers
from shoal_testing.virtual_time import START_S


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
