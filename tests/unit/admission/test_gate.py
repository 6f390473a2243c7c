import asyncio

import pytest

from shoal_server.admission.gate import Gate, GateStatistics
from shoal_server.errors import Overloaded, Unavailable
from shoal_server.options import AdmissionOptions
from shoal_testing.virtual_time import run_virtual


def gate_of(*admitted: tuple[int, int], requests: int = 3, rows: int = 10, size_bytes: int = 100) -> Gate:
    gate = Gate(AdmissionOptions(requests, rows, size_bytes))
    for request in admitted:
        gate.admit(*request)
    return gate


@pytest.mark.parametrize(
    ("admitted", "request_"),
    [
        ([], (1, 1)),
        ([(1, 1), (1, 1)], (8, 98)),
        ([], (11, 1)),  # too large for an empty server: passes alone
        ([], (1, 101)),
        ([(10, 1)], (0, 1)),
        ([(1, 100)], (1, 0)),
    ],
)
def test_what_fits_is_let_in(admitted: list[tuple[int, int]], request_: tuple[int, int]) -> None:
    gate = gate_of(*admitted)
    gate.admit(*request_)
    inside = [*admitted, request_]
    assert gate.statistics() == GateStatistics(
        len(inside), sum(rows for rows, _ in inside), sum(size for _, size in inside), 0
    )


@pytest.mark.parametrize(
    ("admitted", "request_"),
    [
        ([(1, 1)] * 3, (0, 0)),
        ([(1, 1)], (10, 1)),
        ([(10, 1)], (1, 1)),
        ([(1, 1)], (1, 100)),
        ([(11, 1)], (0, 1)),
        ([(0, 0)], (11, 0)),
    ],
)
def test_what_exceeds_a_bound_is_refused_and_counted_and_holds_nothing(
    admitted: list[tuple[int, int]], request_: tuple[int, int]
) -> None:
    gate = gate_of(*admitted)
    before = gate.statistics()
    with pytest.raises(Overloaded, match=f"it holds {len(admitted)} of 3 requests, .* of 10 rows, .* of 100 bytes"):
        gate.admit(*request_)
    assert gate.statistics() == GateStatistics(before.requests, before.rows, before.size_bytes, 1)


def test_refusals_are_told_of_the_bounds_that_the_door_has() -> None:
    gate = gate_of((1, 1), (1, 1), (1, 1))
    with pytest.raises(Overloaded):
        gate.admit(1, 1)
    told = {bound.value: count for bound, count in gate.refusals.items()}
    assert told == {"requests": 1, "rows": 0, "bytes": 0, "quota": 0, "share": 0}, "deadlines are the lines' to judge"


def test_what_was_released_can_be_admitted_again() -> None:
    gate = gate_of((10, 100))
    gate.release(10, 100)
    assert gate.statistics() == GateStatistics(0, 0, 0, 0)
    gate.admit(10, 100)


def test_a_closed_gate_lets_nobody_in_and_everybody_out() -> None:
    gate = gate_of((1, 1))
    gate.close()
    with pytest.raises(Unavailable, match="draining"):
        gate.admit(1, 1)
    gate.release(1, 1)
    assert gate.statistics() == GateStatistics(0, 0, 0, 0)


def test_a_gate_is_emptied_when_the_last_has_left_and_tells_everyone_who_waits() -> None:
    async def main() -> None:
        gate = gate_of((1, 1), (1, 1))
        waiting = [asyncio.ensure_future(gate.emptied()) for _ in range(3)]
        await asyncio.sleep(1)
        gate.release(1, 1)
        waiting[0].cancel()
        await asyncio.sleep(1)
        assert not waiting[1].done()
        gate.release(1, 1)
        await asyncio.gather(*waiting[1:])
        await gate.emptied()

    run_virtual(main())


def test_a_gate_into_which_one_more_came_before_its_waiter_woke_is_not_empty() -> None:
    async def main() -> None:
        gate = gate_of((1, 1))
        waiting = asyncio.ensure_future(gate.emptied())
        await asyncio.sleep(1)
        gate.release(1, 1)
        gate.admit(1, 1)
        gate.release(1, 1)
        gate.admit(1, 1)
        await asyncio.sleep(1)
        assert not waiting.done()
        gate.release(1, 1)
        await waiting

    run_virtual(main())


def test_releasing_more_than_was_admitted_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="released once"):
        gate_of().release(1, 1)


def test_a_gate_describes_itself() -> None:
    assert repr(gate_of((2, 30))) == "<Gate 1 requests, 2 rows, 30 bytes inside>"
