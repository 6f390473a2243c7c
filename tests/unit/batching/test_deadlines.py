"""Deadlines in the line and during execution, within the whole core."""

import pytest

from shoal_server.errors import DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, run_core, wait
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, after_s, making, numbers


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
