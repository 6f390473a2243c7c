"""Swaps for minutes: at seventy percent of what the server can do, and as many as there is time for."""

import sys
from pathlib import Path

import pytest

from shoal_testing.swapping import assert_flat, assert_nobody_noticed, swap_at_a_share, swap_under_load

pytestmark = pytest.mark.soak

SWAPS = 1000
CALLERS = 12
ANSWERS_BETWEEN = 12


def test_a_thousand_swaps_under_load_are_noticed_by_nobody(tmp_path: Path) -> None:
    answers, memory = swap_under_load(tmp_path, SWAPS, CALLERS, ANSWERS_BETWEEN)
    sys.stdout.write(f"resident memory: {memory}; answers by version: {dict(answers.by_version())}\n")
    assert_nobody_noticed(answers)
    assert_flat(memory)


def test_a_swap_every_second_for_ten_minutes_at_seventy_percent_is_noticed_by_nobody(tmp_path: Path) -> None:
    answers, memory = swap_at_a_share(tmp_path, 600, CALLERS, share=0.7, every_s=1.0)
    sys.stdout.write(f"resident memory: {memory}; answers by version: {dict(answers.by_version())}\n")
    assert_nobody_noticed(answers)
    assert_flat(memory)
