"""Closing a model gives its memory back, though nobody collects garbage."""

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor, ModelDefinition
from shoal_server.runtime import OrtLoader, heap
from shoal_server.runtime.ort_model import OrtModel
from shoal_server.tensors.datatype import DataType
from shoal_testing import models

MODEL_MB = 32  # in weights of 4 MB, which the C library would keep for itself
LOADS = 6
KEPT_MB = 16

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc"),
    pytest.mark.timeout(60),  # each load starts a process, on a machine that has other things to do
]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.fixture
def definition(tmp_path: Path) -> Iterator[ModelDefinition]:
    path = models.save(tmp_path, "m", models.mlp((1000,) * 9))
    small = models.save(tmp_path, "small", models.mlp())
    loader = OrtLoader(1.0)
    loader.load(ModelDefinition("small", {1: small}), 1, lambda: None).close()  # what the runtime allocates once
    gc.collect()
    heap.give_back(1 << 30)
    gc.disable()
    yield ModelDefinition("m", {1: path})
    gc.enable()


def test_a_closed_model_has_given_its_memory_back_though_somebody_still_knows_it(definition: ModelDefinition) -> None:
    loader = OrtLoader(1.0)
    before_mb = resident_mb()
    known: list[OrtModel] = []
    taken_mb = 0.0
    for _ in range(LOADS):
        empty_mb = resident_mb()
        known.append(loader.load(definition, 1, lambda: None))
        taken_mb += resident_mb() - empty_mb
        known[-1].close()
    # Of all loads together: what tests before this one left may go during one of them.
    assert taken_mb > LOADS * MODEL_MB / 2
    assert resident_mb() - before_mb < KEPT_MB


def test_a_load_that_failed_leaves_nothing_though_the_failure_is_kept(definition: ModelDefinition) -> None:
    loader = OrtLoader(1.0)
    wrong = replace(definition, outputs=(DeclaredTensor("y", DataType.INT64, (1000,)),))
    before_mb = resident_mb()
    kept: list[LoadFailed] = []
    for _ in range(LOADS):
        with pytest.raises(LoadFailed) as failed:
            loader.load(wrong, 1, lambda: None)
        kept.append(failed.value)
    assert resident_mb() - before_mb < KEPT_MB
