"""A server that is killed in the midst of a swap is followed by one that serves the old version or the new."""

import random
from pathlib import Path

import pytest

from shoal_testing.killing import any_kill, kill_and_start_again

KILLS = 5


@pytest.mark.timeout(55)  # six servers start one after the other, each in a second on a machine that does nothing else
def test_after_a_kill_in_the_midst_of_a_swap_the_next_server_serves_one_of_its_versions(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    assert len(kill_and_start_again(tmp_path, [any_kill(chance) for _ in range(KILLS)])) == KILLS
