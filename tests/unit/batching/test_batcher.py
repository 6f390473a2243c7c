"""The shell around the backlog, within the whole core: what runs together and when, and who gets the slots."""

import pytest

from shoal_server.errors import Overloaded, Unavailable
from shoal_server.options import BatchingOptions, RuntimeOptions
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, after_s, making, numbers
from shoal_testing.virtual_time import START_S


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
