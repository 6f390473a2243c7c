"""What is done for a large model lets everything else go first, and is otherwise as if it had been done at once."""

import os
import sys
import threading
import weakref
from concurrent.futures import Future

import pytest

from shoal_server.runtime.quiet import Quiet

LARGE = 1 << 20


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_a_large_model_is_worked_on_at_low_priority_and_the_caller_keeps_its_own() -> None:
    before = niceness()
    assert Quiet().do(LARGE, niceness) == min(before + 10, 19)
    assert niceness() == before


def test_a_small_model_is_worked_on_where_the_caller_is() -> None:
    assert Quiet().do(LARGE - 1, threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("oh"), SystemExit(3)], ids=repr)
def test_what_the_work_raises_is_the_callers(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        Quiet().do(LARGE, fail)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_where_priorities_may_not_be_set_the_work_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_which: int, _who: int, _priority: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    before = niceness()
    assert Quiet().do(LARGE, niceness) == before


def test_a_thread_has_one_companion_which_ends_with_those_who_know_it() -> None:
    quiet = Quiet()
    companion = quiet.do(LARGE, threading.current_thread)
    assert quiet.do(LARGE, threading.current_thread) is companion
    asked = Future[threading.Thread]()
    other = threading.Thread(target=lambda it: asked.set_result(it.do(LARGE, threading.current_thread)), args=(quiet,))
    other.start()
    other.join()
    assert asked.result() is not companion
    asked.result().join()
    assert companion.is_alive()
    del quiet
    companion.join()


def test_what_was_done_is_not_kept() -> None:
    class Session:
        """Large."""

    quiet, session = Quiet(), Session()
    known = weakref.ref(session)
    quiet.do(LARGE, lambda held=session: id(held))  # type: ignore[misc]
    quiet.do(LARGE, lambda: None)
    del session
    assert known() is None
