"""Batches that do not come back within the limit, within the whole core: they are given up, their slots made good."""

from collections.abc import Callable

import pytest

from shoal_server.errors import ExecutionFailed, Unavailable
from shoal_server.events import ExecutionAbandoned, ExecutionBroken, VersionChanged
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import Poison
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, after_s, making, numbers

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
