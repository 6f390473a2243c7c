"""The threads that run batches: a result comes once or, given up, never; and their number stays what it was."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import pytest

from shoal_server.mailbox import Mailbox
from shoal_server.runtime.threads import Threads

T = TypeVar("T")

WAIT_S = 10.0


class HeldMailbox(Mailbox):
    """Delivers nothing before it is told to, so that a test decides what comes between an end and its report."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.posted = threading.Semaphore(0)
        self._waking = True

    def post(self, deliver: Callable[[T], None], message: T) -> None:
        super().post(deliver, message)
        self.posted.release()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"threads of {request.node.name}"


def alive(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def ended(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_who_was_told_a_result_is_forgotten(name: str) -> None:
    """He has hold of the work, as a rule: a batch of large requests would stay until garbage is collected."""

    class Told:
        def __call__(self, _result: int) -> None:
            pass

    mailbox = HeldMailbox(asyncio.new_event_loop())
    threads = Threads(1, name, mailbox)
    told = Told()
    work = threads.submit(lambda: 7, told)
    assert mailbox.posted.acquire(timeout=WAIT_S)
    mailbox.deliver()
    forgotten = weakref.ref(told)
    del told
    assert forgotten() is None
    assert work is not None
    threads.close()
    ended(alive(name))
    mailbox.loop.close()


def test_a_result_comes_back_once(name: str) -> None:
    results: list[int] = []
    mailbox = HeldMailbox(asyncio.new_event_loop())
    threads = Threads(2, name, mailbox)
    threads.submit(lambda: 7, results.append)
    assert mailbox.posted.acquire(timeout=WAIT_S)
    mailbox.deliver()
    assert results == [7]
    running = alive(name)
    threads.close()
    ended(running)
    mailbox.loop.close()


def test_work_given_up_while_it_runs_is_never_reported_and_its_thread_is_replaced(name: str) -> None:
    results: list[bool] = []
    release, started = threading.Event(), threading.Event()
    mailbox = HeldMailbox(asyncio.new_event_loop())
    threads = Threads(1, name, mailbox)
    [stuck] = alive(name)

    def hang() -> bool:
        started.set()
        return release.wait(WAIT_S)

    execution = threads.submit(hang, results.append)
    assert started.wait(WAIT_S)
    execution.abandon()
    execution.abandon()
    threads.submit(lambda: True, results.append)
    assert mailbox.posted.acquire(timeout=WAIT_S), "the thread in its place serves"
    release.set()
    ended([stuck])
    assert len(alive(name)) == 1
    mailbox.deliver()
    assert results == [True]
    threads.close()
    ended(alive(name))
    mailbox.loop.close()


def test_work_given_up_after_its_end_leaves_as_many_threads_as_before(name: str) -> None:
    results: list[int] = []
    mailbox = HeldMailbox(asyncio.new_event_loop())
    threads = Threads(1, name, mailbox)
    execution = threads.submit(lambda: 7, results.append)
    assert mailbox.posted.acquire(timeout=WAIT_S)
    execution.abandon()
    assert len(alive(name)) == 1
    mailbox.deliver()
    assert not results
    threads.close()
    ended(alive(name))
    mailbox.loop.close()


async def _call(name: str, work: Callable[[], T]) -> T:
    threads = Threads(1, name, Mailbox(asyncio.get_running_loop()))
    try:
        return await threads.call(work)
    finally:
        threads.close()


def test_a_call_returns_what_its_work_returns(name: str) -> None:
    assert asyncio.run(_call(name, lambda: "x")) == "x"


def test_a_call_raises_what_its_work_raises(name: str) -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(_call(name, lambda: 1 // 0))
