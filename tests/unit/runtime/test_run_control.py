import threading

from shoal_server.runtime.run_control import TimeLimit, Watchdog

WAIT_S = 10.0


def test_when_the_time_is_up_the_run_is_ended_and_so_is_every_later_one() -> None:
    limit = TimeLimit(due_s=0.0)
    ended: list[str] = []
    limit.on_stop(lambda: ended.append("first"))
    assert ended == []
    limit.end()
    assert limit.over
    assert ended == ["first"]
    limit.on_stop(lambda: ended.append("second"))
    assert ended == ["first", "second"]


def test_a_watchdog_ends_what_takes_too_long() -> None:
    ended = threading.Event()
    with Watchdog(0.0).limit() as limit:
        limit.on_stop(ended.set)
        assert ended.wait(WAIT_S)


def test_a_watchdog_leaves_alone_what_is_over() -> None:
    watchdog = Watchdog(0.3)
    with watchdog.limit() as first:
        pass
    ended = threading.Event()
    with watchdog.limit() as second:  # due after the first, which had its chance by then
        second.on_stop(ended.set)
        assert ended.wait(WAIT_S)
    assert second.over
    assert not first.over


def test_a_watchdog_that_has_gone_to_sleep_wakes_again() -> None:
    watchdog = Watchdog(0.0)
    for _ in range(3):
        ended = threading.Event()
        with watchdog.limit() as limit:
            limit.on_stop(ended.set)
            assert ended.wait(WAIT_S)
