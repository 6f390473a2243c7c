"""How many threads carry bytes on the native transport."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing import models
from shoal_testing.caller import Caller, request_of
from shoal_testing.server import running_server

ROW = np.array([[1, 2]], np.float32)


def named(prefix: str) -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # another thread has just ended
            names.append((task / "comm").read_text().strip())
    return sorted(name for name in names if name.startswith(prefix))


@pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
@pytest.mark.parametrize(("runtime", "threads"), [({}, 1), ({"io_threads": 3}, 3)], ids=["default", "three"])
def test_as_many_threads_carry_bytes_as_are_configured(runtime: dict[str, int], threads: int, tmp_path: Path) -> None:
    models.save(tmp_path, "pair", models.identity("FP32", ["N", 2]))
    with running_server(tmp_path, transport="native", runtime=runtime) as running:
        assert named("shoal-io-") == [f"shoal-io-{number}" for number in range(threads)]
        for _ in range(2 * threads):
            with Caller(running.address) as caller:
                assert caller.infer(request_of("pair", x=ROW)).status == "OK"
    assert not named("shoal-io-")
