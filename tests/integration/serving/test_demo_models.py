"""Real input: scikit-learn models of real data, whose answers are scikit-learn's own, batched with others."""

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient

from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import Array, eventually, given

if TYPE_CHECKING:
    from shoal_server.demo.models import DemoModel

CALLERS = 64
OUTPUTS = {"breast_cancer": ("output_label", "output_probability"), "digits": ("label", "probabilities")}
"""Each model's outputs: the class of each row, and the scores of all classes."""

# The first to ask for a model waits for its training.
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def demo_models() -> "dict[str, DemoModel]":
    from shoal_server.demo.models import breast_cancer, digits  # noqa: PLC0415 - takes seconds, and only here

    return {model.name: model for model in (breast_cancer(), digits())}


@pytest.fixture(scope="module")
def served(demo_models: "dict[str, DemoModel]", tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Batches wait a little for company, so that there are some however fast the models are."""
    from shoal_server.demo.models import write  # noqa: PLC0415 - as above

    folder = tmp_path_factory.mktemp("models")
    for model in demo_models.values():
        write(model, folder)
    with running_server(folder, batching={"delay_ms": 5.0}) as running:
        yield running


async def predict(address: str, model: "DemoModel", sizes: list[int]) -> dict[str, Array]:
    """Send every test row, in requests of so many rows by ``CALLERS`` tasks at once; return each output, in order."""
    starts = np.cumsum([0, *sizes])
    requests = iter([(start, model.rows[start : start + size]) for start, size in zip(starts, sizes, strict=False)])
    answers: dict[int, dict[str, Array]] = {}
    async with tritonclient.grpc.aio.InferenceServerClient(address) as client:

        async def caller() -> None:
            for start, rows in requests:
                result = await client.infer(model.name, [given(model.input_name, rows)])
                names = [output.name for output in result.get_response().outputs]
                answers[start] = {name: result.as_numpy(name) for name in names}

        await asyncio.gather(*[caller() for _ in range(CALLERS)])
    parts = [answers[start] for start in sorted(answers)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def sizes_of(count: int, most_rows: int, seed: int) -> list[int]:
    """Return random sizes of requests that add up to ``count`` rows."""
    random = np.random.default_rng(seed)
    sizes: list[int] = []
    while (left := count - sum(sizes)) > 0:
        sizes.append(min(left, int(random.integers(1, most_rows, endpoint=True))))
    return sizes


@pytest.mark.parametrize("most_rows", [1, 4])
@pytest.mark.parametrize("name", OUTPUTS)
def test_served_answers_are_scikit_learns_own(
    served: RunningServer, demo_models: "dict[str, DemoModel]", name: str, most_rows: int, seed: int
) -> None:
    label, scores = OUTPUTS[name]
    model = demo_models[name]
    sizes = sizes_of(len(model.rows), most_rows, seed)
    with InferenceServerClient(served.address) as client:
        rows, executions = counted(client, name)
        found = asyncio.run(predict(served.address, model, sizes))
        assert eventually(lambda: counted(client, name)[0], rows + len(model.rows)) == rows + len(model.rows)
        executions = counted(client, name)[1] - executions
    predicted = model.classifier.predict(model.rows)
    labels = [each.decode() if isinstance(each, bytes) else each for each in found[label].tolist()]
    assert labels == predicted.tolist()
    assert found[scores].shape == (len(model.rows), len(set(model.truth)))
    np.testing.assert_allclose(found[scores], model.classifier.predict_proba(model.rows), atol=1e-5)
    assert executions < len(sizes) / 2, "requests ran one by one"


def test_the_classes_of_the_scores_are_in_the_configuration(
    served: RunningServer, demo_models: "dict[str, DemoModel]"
) -> None:
    with InferenceServerClient(served.address) as client:
        parameters = client.get_model_config("breast_cancer").config.parameters
    classes = json.loads(parameters["shoal.labels.output_probability"].string_value)
    assert classes == sorted(set(demo_models["breast_cancer"].truth))


def counted(client: InferenceServerClient, model: str) -> tuple[int, int]:
    """Return how many rows and executions the model has answered."""
    statistics = client.get_inference_statistics(model).model_stats[0]
    return statistics.inference_count, statistics.execution_count
