"""Case 24: swaps under load fail no call, and every answer is from one version and that version's own."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest
from shoal_testing.caller import Caller, request_of
from shoal_testing.operator import Operator
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)
CALLERS = 4
SWAPS = 30


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    for version in (1, 2):
        models.save(tmp_path, "m", plus(version), version)
    with running_server(tmp_path) as running:
        yield running
        assert_at_rest(running)


@pytest.mark.parametrize("keep_warm_s", [0.0, 60.0])
def test_swaps_under_load_fail_no_call_and_every_answer_is_that_of_its_version(
    served: RunningServer, keep_warm_s: float
) -> None:
    stop = threading.Event()

    def infer() -> set[int]:
        seen: set[int] = set()
        with Caller(served.address) as caller:
            while not stop.is_set():
                outcome = caller.infer(request_of("m", x=ROWS))
                version = int(outcome.answer.model_version)
                np.testing.assert_array_equal(outcome.array(), ROWS + version)
                seen.add(version)
        return seen

    with Operator(served.address) as operator, ThreadPoolExecutor(CALLERS) as threads:
        callers = [threads.submit(infer) for _ in range(CALLERS)]
        try:
            for number in range(SWAPS):
                version = 1 + number % 2
                assert operator.swap("m", version, keep_warm_s=keep_warm_s).done.current_version == version
                assert operator.infer(request_of("m", x=ROWS)).answer.model_version == str(version)
        finally:
            stop.set()
        assert set.union(*[future.result() for future in callers]) == {1, 2}
