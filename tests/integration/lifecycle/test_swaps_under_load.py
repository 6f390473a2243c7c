"""A hundred swaps under steady load: no call fails, every answer is one version's, and memory stays where it was."""

import sys
from pathlib import Path

import pytest

from shoal_testing.swapping import assert_flat, assert_nobody_noticed, swap_under_load

SWAPS = 100
CALLERS = 8
ANSWERS_BETWEEN = 8  # so that each version answers everybody before it is replaced


@pytest.mark.timeout(55)  # 7 s on a machine that does nothing else
def test_a_hundred_swaps_under_load_are_noticed_by_nobody(tmp_path: Path) -> None:
    answers, memory = swap_under_load(tmp_path, SWAPS, CALLERS, ANSWERS_BETWEEN)
    sys.stdout.write(f"resident memory: {memory}; answers by version: {dict(answers.by_version())}\n")
    assert_nobody_noticed(answers)
    assert sum(answers.by_version().values()) >= SWAPS * ANSWERS_BETWEEN
    assert_flat(memory)
