"""Batches and collaborators that fail, within the whole core: who is told, and that everything is given back."""

import pytest

from shoal_server.errors import ExecutionFailed, InternalError
from shoal_server.events import BatchingStopped, Event, ExecutionBroken, VersionChanged
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import Kind, Poison
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, making, numbers


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

    run_core(
        test,
        definition("m", batching=BatchingOptions(execution_limit_s=0.5)),
        make=making(kind, poisons),
        observer=RaisingObserver(),
    )


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
