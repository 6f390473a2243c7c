"""A server to measure, and the benchmarks as a process."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_testing.benching import Bench
from shoal_testing.models import mlp, save
from shoal_testing.server import running_server


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    started: list[Bench] = []

    def start(*arguments: str) -> Bench:
        record = tmp_path / "record.json"
        command = [sys.executable, "-m", "shoal_bench", *arguments, "--record", str(record)]
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(Bench(process, record))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the model `small`, which takes `x` FP32 [N, 4]."""
    models = tmp_path_factory.mktemp("models")
    save(models, "small", mlp((4, 8, 2)))
    with running_server(models) as server:
        yield server.address
