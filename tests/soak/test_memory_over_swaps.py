"""A model of 25 MB, swapped again and again: resident memory is in the end what it was in the beginning."""

import sys
from pathlib import Path

import pytest

from shoal_testing import models
from shoal_testing.memory_trend import trend
from shoal_testing.operator import Operator
from shoal_testing.process import server_process

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

WIDTHS = (1250,) * 5
SWAPS = 100
FIRST = 20  # swaps, in which things are imported, allocated and cached for the first time
MOST_SLOPE_BYTES = 32 << 10  # for each swap, of 25 MB
MOST_RANGE_BYTES = 8 << 20


def test_a_hundred_swaps_of_25_mb_leave_resident_memory_where_it_was(tmp_path: Path) -> None:
    for version in (1, 2):
        models.save(tmp_path / "models", "big", models.mlp(WIDTHS, seed=version), version=version)
    with server_process("models", folder=tmp_path) as server:
        address = server.ready_address()
        resident = []
        for number in range(SWAPS):
            with Operator(address) as operator:
                done = operator.swap("big", 1 + number % 2, keep_warm_s=0.0).done
            assert done.current_version == 1 + number % 2
            resident.append(server.resident_bytes())
    memory = trend(resident[FIRST:])
    spread = max(resident[FIRST:]) - min(resident[FIRST:])
    sys.stdout.write(f"resident memory: {memory}; {spread / 1e6:.1f} MB between the most and the least\n")
    assert memory.slope < MOST_SLOPE_BYTES, memory
    assert spread < MOST_RANGE_BYTES
