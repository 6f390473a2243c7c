"""ModelStatistics after scripted scenarios: exact counts, in Triton's terms."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models, whole_models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually, given, rows, save_held, status

STAGES = ("compute_input", "compute_infer", "compute_output")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "models"
    models.save(folder, "echo", models.identity())
    models.save(folder, "whole", whole_models.softmax_over_batch())
    save_held(folder, "held", rows=4)
    save_held(folder, "gather", rows=4, model=models.gather())
    for number in (1, 2):
        models.save(folder, "versions", plus(number), number)
    folder.joinpath("versions", "model.toml").write_text("[versions]\nall = true\n")
    with running_server(folder) as running:
        yield running


class Counts:
    """The statistics of one version, compared by counts once all that was asked is counted."""

    def __init__(self, client: InferenceServerClient, model: str, settled: int, version: str = "1") -> None:
        self._client = client
        self._model = model
        self._version = version
        assert eventually(self._settled, settled) == settled
        self.all = self._read()

    def __getattr__(self, name: str) -> int:
        """Return a counter, or how often a stage or an outcome was counted."""
        if name in ("inference_count", "execution_count", "last_inference"):
            return int(getattr(self.all, name))
        return int(getattr(self.all.inference_stats, name).count)

    @property
    def batches(self) -> dict[int, int]:
        """Rows per execution -> executions."""
        for batch in self.all.batch_stats:
            assert len({getattr(batch, stage).count for stage in STAGES}) == 1
            assert all(getattr(batch, stage).ns > 0 for stage in STAGES)
        return {batch.batch_size: batch.compute_infer.count for batch in self.all.batch_stats}

    def ns(self, name: str) -> int:
        return int(getattr(self.all.inference_stats, name).ns)

    def _settled(self) -> int:
        statistics = self._read().inference_stats
        return int(statistics.success.count + statistics.fail.count)

    def _read(self) -> Any:  # noqa: ANN401 - tritonclient has no types
        (found,) = self._client.get_inference_statistics(self._model, self._version).model_stats
        return found


def test_a_version_that_was_never_called_has_counted_nothing(client: InferenceServerClient) -> None:
    counts = Counts(client, "echo", settled=0)
    assert (counts.all.name, counts.all.version) == ("echo", "1")
    assert (counts.inference_count, counts.execution_count, counts.last_inference) == (0, 0, 0)
    assert (counts.success, counts.fail, counts.queue, counts.compute_infer) == (0, 0, 0, 0)
    assert not counts.batches


def test_inferences_count_rows_and_executions_count_batches(client: InferenceServerClient) -> None:
    for numbers in ([1], [2, 3, 4], [5, 6], [7]):
        client.infer("echo", [rows(*numbers)])
    counts = Counts(client, "echo", settled=4)
    assert (counts.inference_count, counts.execution_count) == (7, 4)
    assert (counts.success, counts.fail, counts.queue) == (4, 0, 4)
    assert [getattr(counts, stage) for stage in STAGES] == [4, 4, 4]
    assert counts.batches == {1: 2, 2: 1, 3: 1}
    assert counts.last_inference > 0
    assert counts.ns("success") >= counts.ns("queue") + sum(counts.ns(stage) for stage in STAGES)
    assert all(counts.ns(stage) > 0 for stage in ("queue", *STAGES))


def test_requests_that_ran_together_are_one_execution(client: InferenceServerClient) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda numbers: client.infer("held", [rows(*numbers)]), ([1], [2], [3, 4])))
    counts = Counts(client, "held", settled=3)
    assert (counts.inference_count, counts.execution_count) == (4, 1)
    assert (counts.success, counts.queue, counts.compute_infer) == (3, 3, 3)
    assert counts.batches == {4: 1}
    assert counts.ns("success") >= counts.ns("queue") > 0


def test_a_model_that_is_not_batched_counts_each_request_as_one(client: InferenceServerClient) -> None:
    for size in (1, 4):
        client.infer("whole", [given("x", np.zeros((size, 3), np.float32))])
    counts = Counts(client, "whole", settled=2)
    assert (counts.inference_count, counts.execution_count, counts.success) == (2, 2, 2)
    assert counts.batches == {1: 2}


def test_a_member_that_fails_is_a_failure_and_no_inference(client: InferenceServerClient) -> None:
    def call(number: int) -> str:
        try:
            client.infer("gather", [given("ids", np.array([[number]]))])
        except InferenceServerException as error:
            return status(error)
        return "OK"

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(call, [1, 99, 2, 3])) == ["OK", "INVALID_ARGUMENT", "OK", "OK"]
    counts = Counts(client, "gather", settled=4)
    assert (counts.success, counts.fail, counts.inference_count) == (3, 1, 3)
    # The batch is halved until the member at fault stands alone; who was in which half is chance.
    assert counts.execution_count == 2
    assert counts.batches == {1: 1, 2: 1}
    assert counts.ns("fail") > 0


def test_requests_that_expire_or_leave_in_the_line_are_failures(client: InferenceServerClient) -> None:
    for _ in range(2):
        with pytest.raises(InferenceServerException):
            client.infer("held", [rows(1)], client_timeout=0.2)  # long enough to get into the line
    counts = Counts(client, "held", settled=2)
    assert (counts.fail, counts.success, counts.inference_count, counts.execution_count) == (2, 0, 0, 0)
    assert counts.ns("fail") > 0


def test_a_request_that_is_refused_at_the_door_is_not_counted(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException):
        client.infer("echo", [given("x", np.zeros((1, 3), np.float32))])
    client.infer("echo", [rows(1)])
    counts = Counts(client, "echo", settled=1)
    assert (counts.success, counts.fail) == (1, 0)


def test_each_version_counts_its_own(client: InferenceServerClient) -> None:
    client.infer("versions", [rows(1)], model_version="1")
    for _ in range(2):
        client.infer("versions", [rows(1)])
    assert Counts(client, "versions", settled=1, version="1").inference_count == 1
    assert Counts(client, "versions", settled=2, version="2").inference_count == 2
    both = client.get_inference_statistics("versions").model_stats
    assert [(found.version, found.inference_count) for found in both] == [("1", 1), ("2", 2)]


def test_without_a_name_every_ready_version_is_told(client: InferenceServerClient) -> None:
    found = [(each.name, each.version) for each in client.get_inference_statistics().model_stats]
    assert found == [
        ("echo", "1"),
        ("gather", "1"),
        ("held", "1"),
        ("versions", "1"),
        ("versions", "2"),
        ("whole", "1"),
    ]


def test_a_version_that_is_loaded_again_starts_at_zero(client: InferenceServerClient) -> None:
    client.infer("echo", [rows(1)])
    Counts(client, "echo", settled=1)
    client.unload_model("echo")
    client.load_model("echo")
    assert Counts(client, "echo", settled=0).inference_count == 0


def test_the_last_inference_moves_on(client: InferenceServerClient) -> None:
    client.infer("echo", [rows(1)])
    first = Counts(client, "echo", settled=1).last_inference
    client.infer("echo", [rows(1)])
    assert Counts(client, "echo", settled=2).last_inference >= first
