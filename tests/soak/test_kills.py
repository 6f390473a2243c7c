"""Many servers that are killed in the midst of swaps."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from shoal_testing.killing import any_kill, kill_and_start_again

pytestmark = pytest.mark.soak

KILLS = 50


def test_after_fifty_kills_in_the_midst_of_swaps_the_next_server_serves_one_of_the_versions(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    outcomes = kill_and_start_again(tmp_path, [any_kill(chance) for _ in range(KILLS)])
    served = Counter("new" if current == attempt.wanted else "old" for attempt, current in outcomes)
    sys.stdout.write(f"served afterwards: {dict(served)}\n")
    assert served.keys() == {"old", "new"}, "the points were on both sides of the change"
