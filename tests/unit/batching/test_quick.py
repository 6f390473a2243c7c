"""What is known to be quick runs on the loop; nothing else does, and nothing stays that takes long."""

from collections.abc import Callable
from typing import Any

from shoal_server.batching.burst import AT_A_TIME_S
from shoal_server.batching.execution import BatchExecution, Report, Run
from shoal_server.batching.quick import MUCH_TOO_LONG_S, QUICK_S, SEEN, Quick, QuickExecutor
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.errors import DeadlineExceeded
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingOptions
from shoal_server.tensors.spec import Checked
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import FakeModel
from shoal_testing.fakes import definition


def taught(times_s: list[float], rows: int = 4) -> Quick:
    quick = Quick()
    for took_s in times_s:
        quick.learn("form", rows, took_s)
    return quick


def test_nothing_is_quick_before_it_has_been_seen_often_enough() -> None:
    assert not Quick().is_quick("form", 1)
    assert not taught([QUICK_S / 2] * (SEEN - 1)).is_quick("form", 4)
    assert taught([QUICK_S / 2] * SEEN).is_quick("form", 4)


def test_only_the_form_and_about_the_rows_that_were_seen_are_quick() -> None:
    quick = taught([QUICK_S / 2] * SEEN, rows=5)
    assert [rows for rows in range(1, 20) if quick.is_quick("form", rows)] == [4, 5, 6, 7]
    assert not quick.is_quick("other", 5)


def test_what_a_busy_machine_adds_does_not_count() -> None:
    assert taught([QUICK_S * 20, QUICK_S / 2, *[QUICK_S * 3] * SEEN]).is_quick("form", 4)
    assert not taught([QUICK_S * 1.1] * 100).is_quick("form", 4)


def test_what_took_much_too_long_goes_back_to_threads_for_longer_each_time() -> None:
    quick = taught([QUICK_S / 2] * SEEN)
    for times in (2, 4):
        quick.learn("form", 4, MUCH_TOO_LONG_S * 1.1)
        for _ in range(times * SEEN - 1):
            assert not quick.is_quick("form", 4)
            quick.learn("form", 4, QUICK_S / 2)
        assert not quick.is_quick("form", 4)
        quick.learn("form", 4, QUICK_S / 2)
        assert quick.is_quick("form", 4)


def test_forms_are_forgotten_rather_than_kept_without_bound() -> None:
    quick = taught([QUICK_S / 2] * SEEN)
    for number in range(5000):
        quick.learn(number, 1, QUICK_S)
    assert not quick.is_quick("form", 4)


class _Threads:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> Any:  # noqa: ANN401 - a port's double
        self.work.append((work, done))
        return None

    def run(self) -> None:
        for work, done in self.work:
            done(work())
        self.work.clear()


class _Batch(BatchExecution):
    """A batch that says how long it took."""

    __slots__ = ("took_s",)

    def __init__(self, took_s: float, key: tuple[object, ...] | None = ("shape",)) -> None:
        ticket = Ticket(None, Checked((), 3, key), 0, 0.0, 0.0)  # type: ignore[arg-type] # nobody is answered
        super().__init__(Origin("m", 1, 1), None, BatchingOptions(), [ticket])  # type: ignore[arg-type] # nothing runs
        self.took_s = took_s

    def __call__(self) -> Report:
        return Report(runs=[Run(3, 0, int(self.took_s * 1e9), 0)])


def test_a_batch_runs_where_it_is_decided_once_its_form_has_been_quick_on_threads() -> None:
    threads, done = _Threads(), list[Report]()
    executor = QuickExecutor(threads)
    for times in range(SEEN):
        assert executor.run_here(_Batch(QUICK_S / 2)) is None
        executor.submit(_Batch(QUICK_S / 2), done.append)
        threads.run()
        assert len(done) == times + 1
    report = executor.run_here(_Batch(QUICK_S / 2))
    assert report is not None
    assert report.runs
    assert not threads.work


def test_on_the_loop_processor_time_counts_and_not_the_time_that_others_had_the_processor() -> None:
    cpu_ns = [0]
    executor = QuickExecutor(_Threads(), lambda: cpu_ns[0])
    for _ in range(SEEN):
        executor.learn(_Batch(0.0).form, 3, QUICK_S / 2)

    class Slow(_Batch):
        """A batch that took the processor for a second."""

        __slots__ = ()

        def __call__(self) -> Report:
            cpu_ns[0] += 10**9
            return super().__call__()

    assert executor.run_here(_Batch(100.0)) is not None, "all of it was waited for"
    assert executor.run_here(Slow(0.0)) is not None
    assert executor.run_here(_Batch(0.0)) is None


def test_what_runs_alone_and_what_is_no_batch_stay_on_threads() -> None:
    threads = _Threads()
    executor = QuickExecutor(threads)
    for _ in range(2 * SEEN):
        assert executor.run_here(_Batch(QUICK_S / 2, key=None)) is None
        executor.submit(_Batch(QUICK_S / 2, key=None), lambda _: None)
        executor.submit(lambda: 1, lambda _: None)
    assert len(threads.work) == 4 * SEEN


def test_quick_batches_run_one_after_the_other_where_they_are_decided() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(8)]
        core.service.flush()
        assert all(one.answer.error is None for one in sent)
        assert core.model.runs == [[0, 1], [2, 3], [4, 5], [6, 7]]
        core.assert_at_rest()

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), quick=lambda: True)


def test_a_long_line_of_quick_batches_does_not_keep_the_loop() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number)) for number in range(8)]
        core.service.flush()
        answered = [len(one.responder.answers) for one in sent]
        assert answered == [1, 1, 1, 1, 0, 0, 0, 0], "two batches take more than the loop may be kept for"
        await wait(0.0)
        assert all(one.answer.error is None for one in sent)

    def slow(core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        return FakeModel(script=lambda _run: core.loop.advance(AT_A_TIME_S * 0.6))

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), make=slow, quick=lambda: True)


def test_who_expires_while_a_quick_batch_runs_is_not_in_the_next() -> None:
    async def test(core: Core) -> None:
        sent = [core.offer(rows_of(number), within_s=0.5 if number == 3 else None) for number in range(4)]
        core.service.flush()
        await wait(0.0)
        assert isinstance(sent[3].error, DeadlineExceeded)
        assert core.model.runs == [[0, 1], [2]]

    def slow(core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        return FakeModel(script=lambda _run: core.loop.advance(1.0))

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), make=slow, quick=lambda: True)


def test_a_model_that_may_turn_for_long_never_runs_on_the_loop() -> None:
    async def test(core: Core) -> None:
        sent = core.offer(rows_of(1))
        core.service.flush()
        assert (sent.responder.answers, core.executor.submitted) == ([], 1)
        await wait(1.0)
        assert sent.answer.error is None

    def turning(_core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        model = FakeModel()
        model.steady = False
        return model

    run_core(test, make=turning, quick=lambda: True)
