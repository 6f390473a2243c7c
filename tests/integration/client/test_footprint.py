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

# Without ml_dtypes: BF16 comes as its bits, and goes from lists all the same.
WITHOUT_BFLOAT16 = f"""
import sys
sys.modules["ml_dtypes"] = None
sys.path[:0] = {ROOTS!r}
from shoal.inference.grpc_service_pb2 import ModelInferResponse
from shoal_client.signature import TensorSpec
from shoal_client.tensors import outputs_of
from shoal_client.values import to_array
response = ModelInferResponse(raw_output_contents=[bytes([0x80, 0x3F])])
response.outputs.add(name="y", datatype="BF16", shape=[1])
print(outputs_of(response)["y"].dtype, to_array([1.0], TensorSpec("x", "BF16", (1,))).tolist() == [0x3F80])
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


@pytest.mark.timeout(55)
def test_bf16_is_bits_where_ml_dtypes_is_not_installed() -> None:
    assert run(WITHOUT_BFLOAT16) == "uint16 True"


def test_the_distribution_requires_three_others_without_extras() -> None:
    required = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        for requirement in requires("shoal") or ()
        if "extra ==" not in requirement
    }
    assert required == NEEDED
