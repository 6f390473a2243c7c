"""Requests of the same content within the whole core: one execution, one answer each."""

from typing import Any

import pytest

from shoal_server.errors import Bound, DeadlineExceeded, ExecutionFailed, Overloaded, Unavailable
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import AnswerOptions, BatchingOptions, CallerOptions, QuotaOptions
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import SERIALS, FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import definition
from shoal_testing.timed_model import RUN_S, making, numbers

CACHED = AnswerOptions(cache_bytes=1 << 20, cache_ttl_s=5.0)
SHARED = AnswerOptions(share_in_flight=True)


def model(answers: AnswerOptions, **options: Any) -> ModelDefinition:  # noqa: ANN401 - those of batching
    return definition("m", batching=BatchingOptions(**options), answers=answers)


@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.WHOLE])
def test_equal_requests_under_way_run_once_and_each_is_answered(kind: Kind) -> None:
    async def test(core: Core) -> None:
        first = core.send(0)
        same = [core.send([1, 2]) for _ in range(3)]
        other = core.send([1, 3])
        await wait(1.5 * RUN_S)
        same.append(core.send([1, 2]))  # it runs now
        await wait(1)
        assert [numbers(one) for one in same] == [[1, 2]] * 4
        assert (numbers(first), numbers(other)) == ([0], [1, 3])
        assert sorted(number for run in core.model.runs for number in run) == [0, 1, 1, 2, 3]
        counted = core.batcher.statistics
        assert (counted.success.count, counted.shared) == (6, 3)
        assert counted.inference_count == (3 if kind is Kind.WHOLE else 5)

    run_core(test, model(SHARED), make=making(kind))


def test_equal_requests_run_apart_where_nobody_asked_for_sharing() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        core.send(1)
        core.send(1)
        await wait(1)
        assert core.model.runs == [[0], [1, 1]]

    run_core(test, model(AnswerOptions()), make=making())


def test_who_joins_after_the_run_and_before_the_loop_heard_of_it_is_answered() -> None:
    async def test(core: Core) -> None:
        first = core.send(1)
        await wait(1.5 * RUN_S)
        late = core.send(1)
        await wait(1)
        assert (numbers(first), numbers(late)) == ([1], [1])
        assert core.model.runs == [[1]]

    run_core(test, model(SHARED), make=making(), done_after_s=lambda: RUN_S)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_whoever_leaves_the_others_are_answered_from_one_run(leaver: int, *, running: bool) -> None:
    async def test(core: Core) -> None:
        core.send(0)
        sent = [core.send(1) for _ in range(3)]
        await wait((1.5 if running else 0.5) * RUN_S)
        sent[leaver].cancel()
        assert core.gate.requests == 3  # who leaves the line is gone, who leaves a run stays until its end
        await wait(1)
        assert core.model.runs == [[0], [1]]
        assert [bool(one.responder.answers) for one in sent] == [index != leaver for index in range(3)]
        assert core.batcher.statistics.fail.count == 1

    run_core(test, model(SHARED), make=making())


def test_where_all_leave_a_flight_in_the_line_is_never_run_and_one_that_runs_is_stopped() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        waiting = [core.send(1) for _ in range(2)]
        for one in waiting:
            one.cancel()
        assert core.batcher.waiting == 0
        await wait(1)
        flying = [core.send(2) for _ in range(2)]
        await wait(RUN_S / 2)
        for one in flying:
            one.cancel()
        again = core.send(2)  # joins nothing that is being stopped
        await wait(1)
        assert numbers(again) == [2]
        assert core.model.runs == [[0], [2], [2]]

    run_core(test, model(SHARED), make=making())


def test_a_failure_is_the_leaders_alone_and_the_others_run_on_their_own() -> None:
    failures = [ExecutionFailed("once")]

    def fail_once(_run: int) -> None:
        if failures:
            raise failures.pop()

    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(1)) for _ in range(3)]
        core.service.flush()
        await wait(1)
        assert str(sent[0].error) == "once"
        assert [numbers(one) for one in sent[1:]] == [[1], [1]]

    run_core(
        test, model(SHARED), make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(RUN_S), script=fail_once)
    )


def test_what_always_fails_fails_for_everyone_once() -> None:
    async def test(core: Core) -> None:
        sent = [core.send(1) for _ in range(3)]
        await wait(1)
        assert [str(one.error) for one in sent] == ["poisoned"] * 3

    run_core(test, model(SHARED), make=making(poisons={1: Poison.REFUSED}))


def test_who_may_wait_less_than_the_flight_runs_on_his_own() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        patient = core.send(1)
        hasty = core.send(1, timeout_s=RUN_S / 2)
        await wait(1)
        assert numbers(patient) == [1]
        assert isinstance(hasty.error, DeadlineExceeded)

    run_core(test, model(SHARED), make=making())


def test_a_flight_that_expires_takes_only_its_leader_along() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        hasty = core.send(1, timeout_s=RUN_S / 2)
        patient = core.send(1, timeout_s=5.0)
        await wait(1)
        assert isinstance(hasty.error, DeadlineExceeded)
        assert numbers(patient) == [1]

    run_core(test, model(SHARED), make=making())


def test_a_version_that_is_given_up_answers_all_who_share_a_place_in_the_line() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        sent = [core.send(1) for _ in range(3)]
        core.batcher.fail_waiting(Unavailable("gone"))
        assert all(isinstance(one.error, Unavailable) for one in sent)
        await wait(1)

    run_core(test, model(SHARED), make=making())


def test_callers_who_are_told_apart_and_priorities_share_no_execution() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        for caller, priority in (("a", 1), ("b", 1), ("a", 2), ("a", 1)):
            core.send(1, caller=caller, priority=priority)
        await wait(1)
        assert core.model.runs == [[0], [1, 1, 1]]

    run_core(test, model(SHARED, priority_levels=2), make=making(), callers=CallerOptions())


@pytest.mark.parametrize("answers", [SHARED, CACHED])
def test_quotas_count_requests_that_are_not_computed(answers: AnswerOptions) -> None:
    async def test(core: Core) -> None:
        core.send(1, caller="a")
        if answers is CACHED:
            await wait(0.1)
        assert core.send(1, caller="a").refusal is None
        refused = core.send(1, caller="a").refusal
        assert isinstance(refused, Overloaded)
        assert refused.bound is Bound.QUOTA
        await wait(1)

    quota = QuotaOptions(requests_per_s=2.0)
    run_core(test, model(answers), make=making(), callers=CallerOptions(quota=quota))


def test_an_answer_is_given_again_until_its_time_is_over() -> None:
    async def test(core: Core) -> None:
        for at_s, runs in ((0.0, 1), (1.0, 1), (4.9, 1), (5.2, 2)):
            await wait(at_s - core.loop.time() + 1000.0)
            sent = core.send([1, 2])
            await wait(0.05)
            assert numbers(sent) == [1, 2]
            assert len(core.model.runs) == runs
        counted = core.batcher.statistics
        assert (counted.cache_hit.count, counted.cache_miss.count) == (2, 2)
        assert (counted.success.count, counted.inference_count, counted.execution_count) == (4, 4, 2)

    run_core(test, model(CACHED), make=making())


def test_a_known_answer_comes_while_all_slots_are_busy_and_the_line_is_full() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        await wait(1)
        core.send(2)
        core.send(3)
        assert isinstance(core.send(4).refusal, Overloaded)
        assert numbers(core.send(1)) == [1]
        await wait(1)

    run_core(test, model(CACHED, max_queued_requests=1), make=making())


def test_failed_answers_are_not_given_again() -> None:
    async def test(core: Core) -> None:
        for _ in range(2):
            sent = core.send(1)
            await wait(0.1)
            assert str(sent.error) == "poisoned"
        assert core.model.runs == [[1], [1]]

    run_core(test, model(CACHED), make=making(poisons={1: Poison.REFUSED}))


def test_answers_of_a_batch_are_kept_each_for_itself() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        for number in (1, 2, 3):
            core.send([number, 10 * number])
        await wait(1)
        assert len(core.model.runs) == 2
        assert [numbers(core.send([number, 10 * number])) for number in (3, 1, 2)] == [[3, 30], [1, 10], [2, 20]]
        assert len(core.model.runs) == 2

    run_core(test, model(CACHED), make=making())


def test_another_load_of_the_version_knows_no_answers() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        await wait(1)
        for loaded in core.loader.loaded:
            loaded.current = False
        await core.manager.load("m")
        sent = core.send(1)
        await wait(1)
        assert core.model.runs == [[1]]
        assert int(sent.answer.array()[0, 0]) % SERIALS == core.model.serial

    run_core(test, model(CACHED), make=making())


def test_requests_in_parts_are_neither_shared_nor_kept() -> None:
    async def test(core: Core) -> None:
        for _ in range(2):
            core.send(range(1, 7))
        await wait(1)
        assert len(core.model.runs) == 4

    run_core(test, model(AnswerOptions(share_in_flight=True, cache_bytes=1 << 20), max_rows=4), make=making())


def test_who_comes_back_into_the_line_at_his_deadline_is_not_computed() -> None:
    async def test(core: Core) -> None:
        held_back = core.send(0)
        leader = core.send(1, within_s=RUN_S)
        follower = core.send(1, within_s=RUN_S)
        await wait(1)
        assert numbers(held_back) == [0]
        assert isinstance(leader.error, DeadlineExceeded)
        assert isinstance(follower.error, DeadlineExceeded)
        assert core.model.runs == [[0]]

    run_core(test, model(SHARED, delay_s=RUN_S), make=making())
