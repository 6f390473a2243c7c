"""A minute of certificates and CAs that change every two seconds, under load."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from shoal_testing.certificates import Authority
from shoal_testing.rotation import Rotation
from shoal_testing.trusted import trusted_server

ROTATIONS = 30
EVERY_S = 2.0
CALLERS = 4


@pytest.mark.soak
def test_a_minute_of_rotations_fails_no_call(tmp_path: Path) -> None:
    over = threading.Event()
    with trusted_server(tmp_path, max_connection_age_s=1.0) as served, ThreadPoolExecutor(CALLERS) as callers:
        authorities = [served.authority, *(Authority(f"CA {number}") for number in range(1, ROTATIONS + 1))]
        rotation = Rotation(served, authorities)
        calling = [callers.submit(rotation.call_until, over) for _ in range(CALLERS)]
        began = monotonic()
        try:
            for number in range(1, ROTATIONS + 1):
                threading.Event().wait(max(began + number * EVERY_S - monotonic(), 0.0))
                rotation.rotate(number)
        finally:
            over.set()
        for caller in calling:
            caller.result()
    print(f"{dict(rotation.outcomes)} in {monotonic() - began:.0f} s")  # noqa: T201 - what a soak is run for
    assert rotation.outcomes.keys() == {"OK"}, rotation.outcomes
