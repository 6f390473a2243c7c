"""Answers that are bit for bit the same in any batch, where the owner wants it, on the wire."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from shoal_server.runtime import invariance_probe
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import depends_on_place, depends_on_size
from shoal_testing.triton import raw, rows

JOINED = "[batching]\nmax_rows = 8\ndelay_ms = 10\n"
KEPT = "invariant, as batches are padded to 8 rows"
DIFFERENT = "among 8 rows output 'y' is not bit for bit what it is otherwise"
MADE = {
    "steady": (models.identity(), JOINED + '[answers]\nbatch_invariant = "auto"\n'),
    "padded": (models.identity(), JOINED + '[answers]\nbatch_invariant = "always"\n'),
    "size": (depends_on_size(), JOINED),
    "size_kept": (depends_on_size(), JOINED + '[answers]\nbatch_invariant = "auto"\n'),
    "place_kept": (depends_on_place(), JOINED + '[answers]\nbatch_invariant = "auto"\n'),
    "place": (depends_on_place(), JOINED),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for name, (model, options) in MADE.items():
        models.save(folder, name, model).parents[1].joinpath("model.toml").write_text(options)
    with pytest.MonkeyPatch.context() as patch:
        # A machine that stands still for a moment leaves no time to find out, which is not what is looked at here.
        for budget in ("_GLANCE_BUDGET_S", "_BUDGET_S"):
            patch.setattr(invariance_probe, budget, 30.0)
        with running_server(folder, runtime={"slots": 1}) as running:
            yield running


def parameters(client: InferenceServerClient, model: str) -> dict[str, str]:
    found = client.get_model_config(model).config.parameters
    return {name.removeprefix("shoal."): value.string_value for name, value in found.items()}


@pytest.mark.parametrize(
    ("model", "invariant", "invariance"),
    [
        ("steady", "yes", "invariant: bit-equal alone and in batches of up to 8 rows"),
        (
            "padded",
            "kept",
            f"{KEPT}; otherwise it would be: bit-equal alone and in batches of up to 8 rows",
        ),
        ("size", "no", f"not invariant: {DIFFERENT}"),
        (
            "size_kept",
            "kept",
            f"{KEPT}; otherwise it would not be: {DIFFERENT}",
        ),
        ("place_kept", "yes", "invariant: its requests run one by one"),
        ("place", "no", f"not invariant: {DIFFERENT}"),
    ],
)
def test_what_was_found_is_told(client: InferenceServerClient, model: str, invariant: str, invariance: str) -> None:
    told = parameters(client, model)
    assert (told["invariant"], told["invariance"]) == (invariant, invariance)


def test_what_depends_on_the_place_is_not_batched_and_says_why(client: InferenceServerClient) -> None:
    assert parameters(client, "place_kept")["batching"] == (
        f"not batched: its owner wants answers that do not depend on the batch, and {DIFFERENT}"
    )
    assert client.get_model_config("place_kept").config.max_batch_size == 0


def varied(client: InferenceServerClient, model: str, seed: int) -> int:
    """Ask for the same row in 100 requests at once, some of several rows; return how many answers it has."""
    random = Random(seed)
    sizes = [random.choice([1, 1, 1, 2, 3]) for _ in range(100)]
    own = random.random()
    asked = [rows(*([own] + [random.random() for _ in range(size - 1)])) for size in sizes]
    with ThreadPoolExecutor(16) as callers:
        return len(set(callers.map(lambda x: raw(client.infer(model, [x]), "y")[:8], asked)))


@pytest.mark.parametrize("model", ["steady", "padded", "size_kept"])
def test_a_row_has_one_answer_to_the_bit_whatever_is_beside_it(
    client: InferenceServerClient, model: str, seed: int
) -> None:
    before = client.get_inference_statistics(model).model_stats[0]
    assert varied(client, model, seed) == 1
    after = client.get_inference_statistics(model).model_stats[0]
    assert after.execution_count - before.execution_count < 80, "they did share batches"


def test_without_that_a_row_has_as_many_answers_as_there_are_sizes_of_batches(
    client: InferenceServerClient, seed: int
) -> None:
    assert varied(client, "size", seed) > 1


def test_the_answers_are_the_model_s(client: InferenceServerClient) -> None:
    answer = client.infer("size_kept", [rows(0.0, 1.0)]).as_numpy("y")
    np.testing.assert_array_equal(answer, np.array([[0, 0], [1, 1]], np.float32) * np.float32(1 + 8 * 2**-22))
