import asyncio

import pytest

from shoal_testing.virtual_time import (
    START_S,
    BusySpin,
    Deadlock,
    LeftBehind,
    VirtualClock,
    VirtualTimeLoop,
    run_virtual,
    virtual_loop,
)


def test_an_hour_passes_at_once_and_exactly() -> None:
    async def main() -> float:
        await asyncio.sleep(3600.1)
        return virtual_loop().time()

    assert run_virtual(main()) == START_S + 3600.1


def test_timers_fire_in_order_each_at_its_time() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = virtual_loop()
        fired: list[tuple[str, float]] = []

        def note(name: str) -> None:
            fired.append((name, loop.time() - START_S))

        for name, at_s in (("late", 3.0), ("early", 0.1), ("middle", 0.7)):
            loop.call_at(START_S + at_s, note, name)
        await asyncio.sleep(5)
        return fired

    names, times = zip(*run_virtual(main()), strict=True)
    assert names == ("early", "middle", "late")
    assert times == pytest.approx((0.1, 0.7, 3.0))


def test_a_timer_never_fires_before_its_time_whatever_the_rounding() -> None:
    async def main() -> None:
        loop = virtual_loop()
        for step in range(1, 200):
            due = loop.time() + step / 7e4
            fired = asyncio.Event()
            loop.call_at(due, fired.set)
            await fired.wait()
            assert loop.time() == due

    run_virtual(main())


def test_tasks_that_all_wait_for_each_other_are_a_deadlock_that_names_them() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"1 tasks wait:\n .*main line \d+ > Event.wait line") as failure:
        run_virtual(main(), seed=42)
    assert any("seed 42" in note for note in failure.value.__notes__)


def test_a_callback_that_reschedules_itself_for_now_is_a_busy_spin() -> None:
    async def main() -> None:
        loop = virtual_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(BusySpin):
        run_virtual(main())


def test_a_task_left_behind_is_an_error() -> None:
    tasks = []

    async def main() -> None:
        tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(1), name="forgotten"))

    with pytest.raises(LeftBehind, match="forgotten"):
        run_virtual(main())


def test_an_exception_in_a_callback_ends_the_run() -> None:
    async def main() -> None:
        def broken() -> None:
            raise ZeroDivisionError

        asyncio.get_running_loop().call_later(1, broken)
        await asyncio.sleep(2)

    with pytest.raises(ZeroDivisionError):
        run_virtual(main())


def test_a_complaint_of_the_loop_without_an_exception_ends_the_run_too() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "odd"})
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="odd"):
        run_virtual(main())


def test_checks_run_before_each_jump_and_see_the_instant_at_rest() -> None:
    seen: list[tuple[float, int]] = []

    async def main() -> None:
        loop = virtual_loop()
        done: list[None] = []
        loop.before_jump.append(lambda: seen.append((loop.time() - START_S, len(done))))
        for _ in range(3):
            loop.call_soon(done.append, None)
            await asyncio.sleep(1)

    run_virtual(main())
    assert seen == [(0.0, 1), (1.0, 2), (2.0, 3)]


def test_pending_timers_are_listed_without_those_cancelled_or_over() -> None:
    async def main() -> None:
        loop = virtual_loop()
        kept = loop.call_later(9, print)
        loop.call_later(8, print).cancel()
        loop.call_later(1, list)
        await asyncio.sleep(2)
        assert loop.timers() == [kept]
        kept.cancel()
        assert not loop.timers()

    run_virtual(main())


def test_coarse_timers_are_rounded_to_their_tick() -> None:
    async def main() -> list[float]:
        loop = virtual_loop()
        times = []
        for delay_s in (0.0004, 0.0006, 0.0014):
            began = loop.time()
            await asyncio.sleep(delay_s)
            times.append(loop.time() - began)
        return times

    loop = VirtualTimeLoop(tick_s=0.001, turn_s=1e-6)
    assert run_virtual(main(), loop=loop) == pytest.approx([0.0, 0.001, 0.001], abs=1e-4)


def test_the_clock_reads_the_time_of_the_loop() -> None:
    async def main() -> None:
        clock = VirtualClock(virtual_loop())
        before = clock.monotonic()
        await asyncio.sleep(2.5)
        assert clock.monotonic() - before == 2.5

    run_virtual(main())
