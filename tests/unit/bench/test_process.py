"""What is measured of a process under measurement."""

import os
from time import process_time
from types import SimpleNamespace
from typing import Any

from shoal_bench.process import MeasuredProcess


def test_cpu_time_is_told_to_the_microsecond() -> None:
    """The kernel's ticks are 10 ms: a server may answer all calls of a short round within one."""
    own: Any = SimpleNamespace(pid=os.getpid())
    process = MeasuredProcess(own, "127.0.0.1:1")
    for _ in range(100):
        before_s = process_time()
        told_s = process.cpu_s()
        assert before_s <= told_s <= process_time()
