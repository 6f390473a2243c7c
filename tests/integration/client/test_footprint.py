"""What the client asks of whoever installs it: grpcio, numpy, protobuf, and nothing else."""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import shoal
import shoal_client

ROOTS = [str(Path(module.__file__ or "").parents[1]) for module in (shoal, shoal_client)]
OTHERS = ("onnxruntime", "opentelemetry", "ml_dtypes", "rich", "pydantic", "uvloop", "typer")
NEEDED = {"grpcio", "numpy", "protobuf"}

# What comes with the client beyond what the three bring along by themselves (grpc imports its add-ons where they are).
IMPORTED = f"""
import sys
sys.path[:0] = {ROOTS!r}
import google.protobuf.descriptor_pool, google.protobuf.internal.builder, grpc, grpc.aio, numpy
before = set(sys.modules)
import shoal_client
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new - set(sys.stdlib_module_names)))
"""

# A process in which nothing but the three and what they need can be imported, calling a server.
CALLING = f"""
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {OTHERS!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
sys.path[:0] = {ROOTS!r}
from shoal_client import Client, Unavailable
try:
    with Client("127.0.0.1:1", retry=None) as client:
        client.infer("m", {{"x": [1.0]}})
except Unavailable as error:
    print(error.status)
"""


def run(code: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.timeout(55)
def test_importing_the_client_imports_nothing_but_what_it_needs() -> None:
    assert set(run(IMPORTED).split()) <= {"shoal", "shoal_client", "google", "grpc", "numpy"}


@pytest.mark.timeout(55)
def test_the_client_calls_where_nothing_else_is_installed() -> None:
    assert run(CALLING) == "UNAVAILABLE"


def test_the_distribution_requires_three_others_without_extras() -> None:
    required = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        for requirement in requires("shoal") or ()
        if "extra ==" not in requirement
    }
    assert required == NEEDED
