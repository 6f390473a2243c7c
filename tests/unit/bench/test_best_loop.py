"""What is made of the rounds of a server and of loops without one."""

from random import Random
from statistics import median

import pytest

from shoal_bench.best_loop import Round, Side, better_loop, verdict


def round_of(served: float, *offline: float) -> Round:
    return Round(Side(served, 10.0), tuple(Side(rate, 9.9) for rate in offline), 1.0)


def test_the_server_is_held_against_the_loop_that_is_the_better_over_all_rounds() -> None:
    rounds = [round_of(97, 100, 80), round_of(98, 100, 120), round_of(99, 100, 99)]
    assert better_loop(rounds) == 0
    assert [one.ratio(0) for one in rounds] == pytest.approx([0.97, 0.98, 0.99])
    assert "median 0.980, 0.970 to 0.990 in 3 rounds, by CPU time 0.990" in verdict(rounds)


def test_the_luck_of_two_loops_that_are_as_good_is_not_held_against_the_server() -> None:
    random = Random(0)
    rates = [[100 * random.gauss(1, 0.02) for _ in range(3)] for _ in range(999)]
    rounds = [round_of(*rate) for rate in rates]
    assert median(one.ratio(better_loop(rounds)) for one in rounds) == pytest.approx(1, abs=0.004)
    assert median(served / max(offline) for served, *offline in rates) < 0.992, "as it would be otherwise"
