"""Requests of more rows than a batch may have, within the whole core."""

import gc

import pytest

from shoal_server.batching.parts import Part
from shoal_server.errors import DeadlineExceeded, ExecutionFailed, InvalidRequest, Overloaded, Unavailable
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, run_core, wait
from shoal_testing.fake_model import Kind, Poison
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, after_s, making, numbers


def of_four(**options: float) -> ModelDefinition:
    return definition("m", batching=BatchingOptions(max_rows=4, **options))  # type: ignore[arg-type]


def test_more_rows_than_a_batch_has_run_in_several_and_come_back_as_one_answer() -> None:
    async def test(core: Core) -> None:
        sent = core.send(range(1, 11))
        await wait(1)
        assert core.model.runs == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert numbers(sent) == list(range(1, 11))
        assert after_s(sent) == pytest.approx(3 * RUN_S)

    run_core(test, of_four(), make=making(instances=1))


def test_parts_run_beside_each_other_where_slots_are_free() -> None:
    async def test(core: Core) -> None:
        sent = core.send(range(1, 17))
        await wait(1)
        assert after_s(sent) == pytest.approx(2 * RUN_S)

    run_core(test, of_four(), make=making(instances=2), slots=2)


def test_requests_of_others_go_between_the_parts_and_share_the_last_of_them() -> None:
    async def test(core: Core) -> None:
        large = core.send(range(1, 15))
        small = [core.send(100), core.send(200)]
        await wait(1)
        assert core.model.runs == [[1, 2, 3, 4], [5, 6, 7, 8], [100, 200], [9, 10, 11, 12], [13, 14]]
        assert numbers(large) == list(range(1, 15))
        assert [numbers(one) for one in small] == [[100], [200]]

    run_core(test, of_four(), make=making(instances=1))


def test_a_request_in_parts_is_counted_once_and_its_rows_once() -> None:
    async def test(core: Core) -> None:
        core.send(range(1, 11))
        await wait(1)
        counted = core.batcher.statistics
        assert (counted.inference_count, counted.execution_count) == (10, 3)
        assert (counted.success.count, counted.queue.count, counted.fail.count) == (1, 1, 0)
        assert counted.stages.count == 1
        assert sorted(counted.batches) == [2, 4]
        assert counted.queue.ns == 0
        assert counted.success.ns == pytest.approx(3 * RUN_S * 1e9)

    run_core(test, of_four(), make=making(instances=1))


def test_what_has_not_run_never_runs_for_a_caller_who_left() -> None:
    async def test(core: Core) -> None:
        large = core.send(range(1, 15))
        await wait(1.5 * RUN_S)
        large.cancel()
        await wait(1)
        assert core.model.runs == [[1, 2, 3, 4], [5, 6, 7, 8]]
        assert not large.responder.answers
        assert core.batcher.statistics.fail.count == 1

    run_core(test, of_four(), make=making(instances=1))


def test_a_caller_who_leaves_while_all_waits_frees_the_line_at_once() -> None:
    async def test(core: Core) -> None:
        core.send([50])
        large = core.send(range(1, 15))
        assert core.batcher.waiting == 2
        large.cancel()
        assert core.batcher.waiting == 0
        assert core.gate.requests == 1

    run_core(test, of_four(), make=making(instances=1))


def test_the_row_at_fault_fails_the_whole_once_and_nobody_beside_it() -> None:
    async def test(core: Core) -> None:
        large = core.send(range(1, 15))
        neighbour = core.send([100])
        await wait(1)
        assert isinstance(large.error, ExecutionFailed)
        assert str(large.error) == "poisoned"
        assert 9 not in core.model.seen
        assert numbers(neighbour) == [100]

    run_core(test, of_four(), make=making(poisons={6: Poison.REFUSED}, instances=1))


def test_each_part_waits_no_longer_than_the_request_may() -> None:
    async def test(core: Core) -> None:
        core.send([50])
        large = core.send(range(1, 15), timeout_s=0.004)
        await wait(1)
        assert isinstance(large.error, DeadlineExceeded)
        assert core.model.runs == [[50]]

    run_core(test, of_four(), make=making(instances=1))


def test_a_request_whose_parts_together_take_longer_than_its_deadline_is_refused_at_the_door() -> None:
    async def test(core: Core) -> None:
        for number in range(8):
            core.send([number] * 4)
            await wait(2 * RUN_S)
        late = core.send(range(1, 41), within_s=5.5 * RUN_S)
        assert isinstance(late.refusal, DeadlineExceeded)
        assert "for the first of 10 batches that 40 rows take" in str(late.refusal)
        core.send([7] * 4)
        busy = core.send(range(1, 13), within_s=3.5 * RUN_S)
        assert isinstance(busy.refusal, Overloaded)
        in_time = core.send(range(1, 13), within_s=4.5 * RUN_S)
        await wait(1)
        assert numbers(in_time) == list(range(1, 13))

    run_core(test, of_four(), make=making(instances=1))


def test_a_full_line_refuses_a_large_request_whole() -> None:
    async def test(core: Core) -> None:
        core.send([50])
        core.send([51])
        large = core.send(range(1, 15))
        assert isinstance(large.refusal, Overloaded)
        assert core.gate.requests == 2
        await wait(1)

    run_core(test, of_four(max_queued_requests=1), make=making(instances=1))


def parts_in_memory() -> list[Part]:
    """Return all that somebody holds, other tests' too."""
    return [held for held in gc.get_objects() if isinstance(held, Part)]


def test_nothing_of_a_large_request_that_was_refused_is_left_to_the_garbage_collector() -> None:
    async def test(core: Core) -> None:
        core.send([50])
        core.send([51])
        gc.collect()
        before = parts_in_memory()
        gc.disable()
        try:
            refusal = core.send(range(1, 15)).refusal
            assert isinstance(refusal, Overloaded)
            refusal.__traceback__ = refusal.__context__ = None  # in the server they go with it
            assert [held for held in parts_in_memory() if held not in before] == []
        finally:
            gc.enable()
        await wait(1)

    run_core(test, of_four(max_queued_requests=1), make=making(instances=1))


@pytest.mark.parametrize("kind", [Kind.WHOLE, Kind.MIXING])
def test_what_cannot_be_split_by_rows_runs_whole(kind: Kind) -> None:
    async def test(core: Core) -> None:
        sent = [core.send(range(1, 11)), core.send(range(21, 31))]
        await wait(1)
        got = [numbers(one)[:10] for one in sent]
        assert got == [list(range(1, 11)), list(range(21, 31))]
        assert list(range(1, 11)) in core.model.runs

    run_core(test, of_four(), make=making(kind, instances=1))


def test_a_model_that_breaks_its_own_signature_says_so_of_the_whole() -> None:
    async def test(core: Core) -> None:
        sent = core.send(range(1, 11))
        await wait(1)
        assert "the model broke its own signature" in str(sent.error)

    run_core(test, of_four(), make=making(Kind.LYING, instances=1))


def test_a_declared_limit_of_rows_holds() -> None:
    async def test(core: Core) -> None:
        refused = core.send(range(1, 11)).refusal
        assert isinstance(refused, InvalidRequest)
        assert "batch-size must be <= 4 for 'm', got 10" in str(refused)

    run_core(test, of_four(rows_limit=4), make=making(instances=1))


def test_a_version_that_is_given_up_answers_the_parts_that_wait() -> None:
    async def test(core: Core) -> None:
        large = core.send(range(1, 15))
        await wait(RUN_S / 2)
        core.batcher.fail_waiting(Unavailable("gone"))
        await wait(1)
        assert isinstance(large.error, Unavailable)
        assert core.model.runs == [[1, 2, 3, 4]]

    run_core(test, of_four(), make=making(instances=1))
