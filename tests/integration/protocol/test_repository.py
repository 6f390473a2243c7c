"""The model repository by a stock client: index, load, unload, and new versions under load."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually, first_column, rows, save_held, status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.save(folder, "echo", models.identity())
    models.save(folder, "plus", plus(1))
    save_held(folder, "held", rows=2)
    broken = folder / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no model")
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running


def index(client: InferenceServerClient) -> dict[tuple[str, str], tuple[str, str]]:
    """Return model and version -> state and reason."""
    found = client.get_model_repository_index().models
    return {(model.name, model.version): (model.state, model.reason) for model in found}


def answer(client: InferenceServerClient, version: str = "") -> tuple[str, list[float]]:
    """Return which version of ``plus`` answered, and what."""
    result = client.infer("plus", [rows(0)], model_version=version)
    return result.get_response().model_version, first_column(result)


def test_the_index_lists_every_version_with_its_state_and_why(client: InferenceServerClient) -> None:
    found = index(client)
    broken = found.pop(("broken", "1"))
    assert found == {("echo", "1"): ("READY", ""), ("held", "1"): ("READY", ""), ("plus", "1"): ("READY", "")}
    assert broken[0] == "UNAVAILABLE"
    assert "model.onnx" in broken[1]


def test_what_is_unloaded_is_unavailable_until_it_is_loaded_again(client: InferenceServerClient) -> None:
    client.unload_model("plus")
    assert index(client)["plus", "1"] == ("UNAVAILABLE", "unloaded")
    assert client.is_model_ready("plus") is False
    with pytest.raises(InferenceServerException) as caught:
        answer(client)
    assert status(caught.value) == "UNAVAILABLE"
    assert caught.value.message() == "model 'plus' has no ready version: version 1 is unloaded"
    client.load_model("plus")
    assert index(client)["plus", "1"] == ("READY", "")
    assert client.is_model_ready("plus") is True
    assert answer(client) == ("1", [1])


def test_unloading_one_model_leaves_the_others(client: InferenceServerClient) -> None:
    client.unload_model("plus", unload_dependents=True)
    assert first_column(client.infer("echo", [rows(5)])) == [5]
    assert client.is_server_ready() is True


def test_an_unloaded_model_may_be_unloaded_again(client: InferenceServerClient) -> None:
    client.unload_model("plus")
    client.unload_model("plus")
    assert client.is_model_ready("plus") is False


def test_a_new_version_is_served_when_the_model_is_loaded_again(client: InferenceServerClient, folder: Path) -> None:
    models.save(folder, "plus", plus(2), 2)
    assert answer(client) == ("1", [1])
    client.load_model("plus")
    assert answer(client) == ("2", [2])
    assert client.get_model_metadata("plus").versions == ["2"]
    unloaded = ("UNAVAILABLE", "unloaded")
    assert eventually(lambda: index(client)["plus", "1"], unloaded) == unloaded
    with pytest.raises(InferenceServerException) as caught:
        answer(client, "1")
    assert status(caught.value) == "UNAVAILABLE"


def test_a_file_that_changed_is_served_when_the_model_is_loaded_again(
    client: InferenceServerClient, folder: Path
) -> None:
    models.save(folder, "plus", plus(7), 1)
    assert answer(client) == ("1", [1])
    client.load_model("plus")
    assert answer(client) == ("1", [7])


def test_a_model_that_came_later_is_served_when_it_is_loaded(client: InferenceServerClient, folder: Path) -> None:
    models.save(folder, "late", models.identity())
    assert client.is_model_ready("late") is False
    client.load_model("late")
    assert first_column(client.infer("late", [rows(3)])) == [3]


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    client: InferenceServerClient, folder: Path
) -> None:
    models.save(folder, "plus", b"no model", 2)
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("plus")
    assert status(caught.value) == "INVALID_ARGUMENT"
    assert "version 2 of model 'plus'" in caught.value.message()
    assert answer(client) == ("1", [1])
    assert index(client)["plus", "1"] == ("READY", "")
    assert index(client)["plus", "2"][0] == "UNAVAILABLE"


def test_what_the_repository_lacks_cannot_be_loaded_or_unloaded(client: InferenceServerClient) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException) as caught:
            call("nobody")
        assert status(caught.value) == "NOT_FOUND"


def test_a_configuration_or_files_in_the_load_request_are_not_offered(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("plus", config="{}", files={"file:1/model.onnx": plus(3)})
    assert status(caught.value) == "UNIMPLEMENTED"
    assert answer(client) == ("1", [1])


def test_requests_in_the_line_are_answered_before_their_version_goes(
    client: InferenceServerClient, served: RunningServer
) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as calling:
            first = asyncio.create_task(calling.infer("held", [rows(1)]))
            while not served.server.inside.requests:
                assert await calling.is_server_live()
            await calling.unload_model("held")
            assert (await first).get_response().model_version == "1", "nobody new would have joined its batch"
            with pytest.raises(InferenceServerException) as caught:
                await calling.infer("held", [rows(2)])
            assert status(caught.value) == "UNAVAILABLE"

    asyncio.run(asyncio.wait_for(main(), 10))
    assert index(client)["held", "1"] == ("UNAVAILABLE", "unloaded")


def test_no_request_is_lost_while_versions_come_and_go(served: RunningServer, folder: Path) -> None:
    swaps, callers = 5, 8
    seen: list[tuple[int, float]] = []

    async def main() -> None:
        swapped = asyncio.Event()
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:

            async def call(number: int) -> None:
                while not swapped.is_set():
                    result = await client.infer("plus", [rows(number)])
                    seen.append((int(result.get_response().model_version), first_column(result)[0] - number))

            async def swap() -> None:
                for version in range(2, 2 + swaps):
                    await asyncio.to_thread(models.save, folder, "plus", plus(version), version)
                    await client.load_model("plus")
                swapped.set()

            await asyncio.gather(swap(), *[call(number) for number in range(callers)])

    asyncio.run(asyncio.wait_for(main(), 15))
    assert all(version == added for version, added in seen)
    assert len(np.unique([version for version, _ in seen])) > 1
