"""What is known to be quick runs on the loop; nothing else does, and nothing stays that takes long."""

from collections.abc import Callable
from typing import Any

from shoal_server.batching.execution import BatchExecution, Report, Run
from shoal_server.batching.quick import MUCH_TOO_LONG_S, QUICK_S, SEEN, Quick, QuickExecutor
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.options import BatchingOptions
from shoal_server.tensors.spec import Checked


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


def test_a_quick_batch_runs_at_once_and_is_reported_in_the_next_turn_of_the_loop() -> None:
    threads, soon, done = _Threads(), list[Callable[[], None]](), list[Report]()
    executor = QuickExecutor(threads, soon.append)
    for _ in range(SEEN):
        executor.submit(_Batch(QUICK_S / 2), done.append)
        assert len(threads.work) == 1
        threads.run()
    assert len(done) == SEEN
    executor.submit(_Batch(QUICK_S / 2), done.append).abandon()
    assert (threads.work, len(done)) == ([], SEEN)
    for call in soon:
        call()
    assert len(done) == SEEN + 1


def test_what_runs_alone_and_what_is_no_batch_stay_on_threads() -> None:
    threads, soon = _Threads(), list[Callable[[], None]]()
    executor = QuickExecutor(threads, soon.append)
    for _ in range(2 * SEEN):
        executor.submit(_Batch(QUICK_S / 2, key=None), lambda _: None)
        executor.submit(lambda: 1, lambda _: None)
    assert (len(threads.work), soon) == (4 * SEEN, [])
