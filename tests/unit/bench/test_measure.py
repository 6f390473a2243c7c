"""When a run ends and what it is called, with a generator that plays what it is given."""

import math
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from shoal_bench.arrivals import Constant
from shoal_bench.capacity import Outcome
from shoal_bench.commands.capacity import judge, judged_p99_s
from shoal_bench.histogram import Durations
from shoal_bench.measure import Meter, measure
from shoal_bench.order import EngineError, Order, Payload
from shoal_bench.result import Ended, Run
from shoal_bench.tally import NOT_SENT, OK, Tally
from shoal_bench.target import Batches, Target, TargetError

ORDER = Order("nowhere:1", "/m", (Payload(b"", "m", 1.0),), Constant(1.0), 1, 0, 1.0, 0.1, 1.0, 1.0, 1.0)


def tally(calls: int, latency_s: float = 0.01, **others: int) -> Tally:
    latencies = Durations()
    for _ in range(calls):
        latencies.record(latency_s)
    return Tally(1.0, Counter({OK: calls, **others}), calls, latencies)


class Player:
    """A generator that yields these windows (an exception is raised), the first of them the warm-up's."""

    name = "player"

    def senders(self, order: Order) -> int:
        return order.processes

    def __init__(self, windows: Sequence[Tally | Exception | Callable[[], None]], tail: Tally | None = None) -> None:
        self._windows = windows
        self._tail = tail or Tally()
        self._halted = False

    @contextmanager
    def start(self, _order: Order) -> Iterator["Player"]:
        yield self

    def windows(self) -> Iterator[Tally]:
        for window in self._windows:
            if self._halted:
                return
            if isinstance(window, Exception):
                raise window
            if callable(window):
                window()
            else:
                yield window

    def halt(self) -> None:
        self._halted = True

    def stop(self) -> Tally:
        return self._tail


class KnownTarget(Target):
    """A target that is there, or is gone."""

    def __init__(self, gone: str = "", batches: Sequence[dict[tuple[str, int], int]] = ()) -> None:
        self._gone = gone
        self._batches = list(batches)

    def check(self) -> None:
        if self._gone:
            raise TargetError(self._gone)

    def batches(self, _models: Sequence[str]) -> Counter[Batches] | None:
        if not self._batches:
            return None
        return Counter({Batches("m", *which): times for which, times in self._batches.pop(0).items()})


def run(player: Player, *, windows: int = 5, tolerance: float | None = 0.1, gone: str = "") -> Run:
    target = KnownTarget(gone)
    return measure(
        ORDER,
        player,
        target,
        Meter(target, None, ["m"]),
        windows=windows,
        tolerance=tolerance,
        progress=lambda _number, _window: None,
    )


def test_a_window_tells_the_batches_of_all_versions_unless_one_that_counted_is_gone_or_began_anew() -> None:
    counts = [
        {("1", 4): 10},
        {("1", 4): 15, ("1", 8): 1, ("2", 4): 2},
        {("2", 4): 9},
        {("2", 4): 3},
        {("2", 4): 4},
    ]
    meter = Meter(KnownTarget(batches=counts), None, ["m"])
    assert [meter.window(tally(1)).batches for _ in counts] == [{4: 10}, {4: 7, 8: 1}, None, None, {4: 1}]


def test_a_run_ends_when_its_last_three_windows_agree() -> None:
    found = run(Player([tally(n) for n in (5, 50, 100, 101, 102, 103)]))
    assert (found.ended, len(found.windows)) == (Ended.STABLE, 4)
    assert found.measured().statuses[OK] == 353, "all windows count, the warm-up alone is left out"


def test_a_run_that_never_agrees_ends_at_its_limit() -> None:
    found = run(Player([tally(n) for n in (5, 10, 20, 40, 80, 160, 320)]))
    assert (found.ended, len(found.windows)) == (Ended.LIMIT, 5)


def test_where_only_the_limit_counts_agreement_does_not_end_a_run() -> None:
    assert len(run(Player([tally(10)] * 9), tolerance=None).windows) == 5


def test_what_ends_after_the_last_window_is_counted_but_is_no_rate() -> None:
    found = run(Player([tally(10)] * 9, tail=tally(3, 5.0)))
    assert found.everything().statuses[OK] == 33
    assert found.everything().latencies.max_s == pytest.approx(5.0, rel=1e-3)
    assert found.measured().throughput == 10


def test_a_server_that_stops_ends_the_run_and_what_was_measured_is_kept() -> None:
    found = run(Player([tally(10), tally(10), tally(0, UNAVAILABLE=9), tally(0)]), gone="no server is at nowhere:1")
    assert (found.ended, len(found.windows)) == (Ended.SERVER_GONE, 2)
    assert found.reason == "the server stopped in mid-run: no server is at nowhere:1"
    assert found.measured().statuses[OK] == 10


def test_a_server_that_stops_during_the_warm_up_is_told_as_well() -> None:
    found = run(Player([tally(0, UNAVAILABLE=9), tally(0)]), gone="it is gone")
    assert (found.ended, found.windows) == (Ended.SERVER_GONE, [])


def test_a_server_that_comes_back_does_not_end_the_run() -> None:
    found = run(Player([tally(10), tally(10), tally(0, UNAVAILABLE=9), tally(10), tally(10), tally(10)]))
    assert found.ended is Ended.STABLE
    assert found.everything().statuses["UNAVAILABLE"] == 9


def test_a_generator_that_breaks_ends_the_run_and_what_was_measured_is_kept() -> None:
    found = run(Player([tally(10), tally(10), EngineError("load-0 ended with 1")]))
    assert (found.ended, len(found.windows)) == (Ended.GENERATOR_FAILED, 1)
    assert found.reason == "the load generator failed: load-0 ended with 1"


def test_ctrl_c_ends_the_run_and_what_was_measured_is_kept() -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    found = run(Player([tally(10), tally(10), lambda: signal.raise_signal(signal.SIGINT), tally(10)], tail=tally(1)))
    assert (found.ended, found.reason) == (Ended.INTERRUPTED, "stopped by hand")
    assert found.everything().statuses[OK] >= 11
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("windows", "outcome"),
    [
        ([tally(1000)] * 3, Outcome.HELD),
        ([tally(1000), tally(1000), tally(1000, 3.0)], Outcome.HELD),  # one interruption
        ([tally(1000, 0.03)] * 3, Outcome.FAILED),
        ([tally(1000, RESOURCE_EXHAUSTED=50)] * 3, Outcome.FAILED),
        ([tally(1000, 0.03, **{NOT_SENT: 5})] * 3, Outcome.GENERATOR_LIMIT),
        ([tally(0, UNAVAILABLE=5)] * 3, Outcome.FAILED),
    ],
)
def test_a_rate_holds_when_p99_does_and_hardly_a_call_fails(windows: list[Tally], outcome: Outcome) -> None:
    found = run(Player([tally(10), *windows]), windows=3, tolerance=None)
    assert judge(found, 0.02, sent=3000) is outcome


@pytest.mark.parametrize(("sent", "outcome"), [(3030, Outcome.HELD), (3200, Outcome.FAILED)])
def test_a_rate_does_not_hold_where_calls_end_slower_than_they_are_sent(sent: int, outcome: Outcome) -> None:
    found = run(Player([tally(10), *[tally(1000)] * 3]), windows=3, tolerance=None)
    assert judge(found, 0.02, sent) is outcome


def test_what_is_said_of_a_rate_is_what_it_was_judged_by() -> None:
    found = run(Player([tally(10), tally(1000), tally(1000), tally(1000, 3.0)], tail=tally(9, 5.0)), windows=3)
    assert judged_p99_s(found) == pytest.approx(0.01, rel=0.1)
    assert math.isinf(judged_p99_s(run(Player([tally(10), *[tally(0, UNAVAILABLE=5)] * 3]), windows=3)))


def test_windows_without_a_call_say_nothing_of_p99() -> None:
    found = run(Player([tally(10), tally(0), tally(0), tally(1, 0.03)]), windows=3, tolerance=None)
    assert judge(found, 0.02, sent=1) is Outcome.FAILED
