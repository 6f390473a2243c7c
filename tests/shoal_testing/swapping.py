"""Swaps back and forth between two versions under steady load, and what has to hold afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from shoal_testing.memory_trend import Trend, trend
from shoal_testing.operator import Operator
from shoal_testing.process import ServerProcess, server_process
from shoal_testing.steady_callers import MODEL, Answers, save_versions, steady_callers

VERSION_BYTES: Final = 512 << 10
"""The least that a version which is not given back costs: its weights, without what ONNX Runtime makes of them."""

_FIRST_ANSWERS: Final = 200
_TIMED_ANSWERS: Final = 800
_WARM_UP: Final = 0.2  # of the swaps: what is imported, allocated and cached on the first occasions


def swap_under_load(folder: Path, swaps: int, callers: int, answers_between: int) -> tuple[Answers, Trend]:
    """Swap so often, each time after so many answers; return what the callers got, and how the memory went."""
    with _serving(folder) as (server, address), steady_callers(address, callers) as calling:
        resident = [
            _swapped(server, address, number, lambda: calling.await_answers(answers_between)) for number in range(swaps)
        ]
    return calling.answers, trend(resident[int(_WARM_UP * swaps) :])


def swap_at_a_share(folder: Path, swaps: int, callers: int, share: float, every_s: float) -> tuple[Answers, Trend]:
    """Swap at intervals while the callers call at a share of the rate that the server answers them at if they can."""
    with _serving(folder) as (server, address):
        with steady_callers(address, callers) as calling:
            calling.await_answers(_FIRST_ANSWERS)
            began_s = monotonic()
            calling.await_answers(_TIMED_ANSWERS)
            rate = _TIMED_ANSWERS / (monotonic() - began_s)
        with steady_callers(address, callers, share * rate) as calling:
            resident = [_swapped(server, address, number, lambda: calling.wait(every_s)) for number in range(swaps)]
    return calling.answers, trend(resident[int(_WARM_UP * swaps) :])


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[ServerProcess, str]]:
    save_versions(folder / "models", 1, 2)
    # A batch waits for half a millisecond, so that there are batches of several callers to be mixed.
    with server_process("models", "--batching-delay-ms", "0.5", folder=folder) as server:
        yield server, server.ready_address()
        assert [line for line in server.errors if " ERROR " in line or "Traceback" in line] == []


def _swapped(server: ServerProcess, address: str, number: int, pause: Callable[[], None]) -> int:
    """Pause, swap, and return the memory that the server has then."""
    pause()
    version = 1 + number % 2  # it starts with version 2, as that is the newest
    with Operator(address) as operator:
        done = operator.swap(MODEL, version, keep_warm_s=0.0).done
    assert (done.previous_version, done.current_version, done.recorded) == (3 - version, version, True)
    return server.resident_bytes()


def assert_nobody_noticed(answers: Answers) -> None:
    """No call failed, every answer is that of the version that it names, and no batch was answered by two versions."""
    assert answers.failures == {}
    assert answers.wrong == []
    assert answers.mixed_batches() == []
    assert answers.largest_batch() > 1, "batches of one cannot be mixed"
    assert min(answers.by_version()[version] for version in (1, 2)) > 0


def assert_flat(memory: Trend) -> None:
    """Resident memory does not grow by as much as a quarter of a version for each swap.

    A version that leaks, whole, is a slope of VERSION_BYTES and more. That of a server which leaks nothing is the noise
    of its allocator, some 3 MiB up and down, which leaves the fit over 80 samples uncertain by 15 KiB.
    """
    assert memory.slope < VERSION_BYTES / 4, memory
