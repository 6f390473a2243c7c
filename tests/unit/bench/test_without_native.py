"""Where the native transport is not built, all tests are still collected: those that need it say so."""

import subprocess
import sys
from pathlib import Path

_COLLECT = """
import sys
sys.modules["shoal_native"] = None  # as where there is no cargo
import pytest
sys.exit(pytest.main(["-p", "no:xdist", "-p", "no:cacheprovider", "--collect-only", "-qq", *sys.argv[1:]]))
"""


def test_tests_of_the_benchmarks_are_collected_where_the_native_transport_is_missing() -> None:
    folder = Path(__file__).parent
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _COLLECT, folder], cwd=folder.parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_best_loop" in done.stdout
