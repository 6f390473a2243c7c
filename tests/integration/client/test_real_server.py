"""The client and the real server: calls, refusals, refreshed metadata, versions, information."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal_client import AsyncClient, CallError, InvalidInput, InvalidRequest, NotFound, Overloaded, Unsupported
from shoal_testing import models
from shoal_testing.at_rest import wait_until_held
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_scalars_and_everything_that_a_result_tells(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            result = await client.infer(
                "scalars", {"x": 0.5, "n": 2}, version=1, outputs=["y"], request_id="mine", parameters={"any": 7}
            )
            assert result["y"].shape == ()
            assert result["y"] == 2.5
            assert (result.model_name, result.model_version, result.id) == ("scalars", "1", "mine")
            assert result.timings.attempts == 1
            assert 0 < result.timings.total_s < 10

    run(main())


def test_refusals_say_which_input_and_what_was_wanted(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            with pytest.raises(InvalidInput, match="'x' takes FP32, numbers: got 'one'"):
                await client.infer("FP32", {"x": ["one", 2]})
            with pytest.raises(InvalidInput, match="no input 'z'; it takes x FP32"):
                await client.infer("FP32", {"z": [1, 2]})
            with pytest.raises(InvalidRequest, match="input 'x' takes FP32, got FP64 data"):
                await client.infer("FP32", {"x": np.zeros((1, 2))})
            with pytest.raises(InvalidRequest, match="unexpected shape for input 'x'"):
                await client.infer("FP32", {"x": [[1, 2, 3]]})
            for inputs in ({"x": [1, 2]}, {"x": np.zeros((1, 2))}):
                with pytest.raises(NotFound, match="unknown model 'nobody'") as caught:
                    await client.infer("nobody", inputs)
                assert (caught.value.model, caught.value.target) == ("nobody", served.address)
            with pytest.raises(NotFound):
                await client.infer("FP32", {"x": np.zeros((1, 2), np.float32)}, version=9)

    run(main())


def test_metadata_is_asked_for_once_and_again_after_a_new_version_answers(tmp_path: Path, run: Run) -> None:
    models.save(tmp_path, "m", models.identity("FP32"))

    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            for _ in range(3):
                assert (await client.infer("m", {"x": [1, 2]}))["y"].dtype == np.float32
            models.save(tmp_path, "m", models.identity("INT64"), version=2)
            await client.load_model("m")
            # The list is converted by the old signature, refused by the new version, and converted anew.
            result = await client.infer("m", {"x": [1, 2]})
            assert result["y"].dtype == np.int64
            assert result.model_version == "2"

    with running_server(tmp_path) as running:
        run(main(running.address))


def test_a_server_without_the_model_any_more_is_told_as_such(tmp_path: Path, run: Run) -> None:
    models.save(tmp_path, "m", models.identity("FP32"))

    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            await client.infer("m", {"x": [1, 2]})
            await client.unload_model("m")
            with pytest.raises(CallError, match="'m'") as caught:
                await client.infer("m", {"x": [1, 2]})
            assert caught.value.status in {"NOT_FOUND", "UNAVAILABLE"}

    with running_server(tmp_path) as running:
        run(main(running.address))


def test_a_full_server_is_told_with_its_status(tmp_path: Path, run: Run) -> None:
    models.save(tmp_path, "m", models.identity("FP32"))

    async def main(running: RunningServer) -> None:
        with gated(running, "m") as gate:
            async with AsyncClient(running.address) as client:
                row = {"x": np.ones((1, 2), np.float32)}
                inside = [asyncio.ensure_future(client.infer("m", row)) for _ in range(2)]
                await asyncio.to_thread(gate.wait_for_run)
                await asyncio.to_thread(wait_until_held, running, requests=2)
                with pytest.raises(Overloaded) as caught:
                    await client.infer("m", row)
                assert caught.value.model == "m"
                gate.open()
                await asyncio.gather(*inside)

    with running_server(tmp_path, limits={"max_requests": 2}) as running:
        run(main(running))


def test_what_the_server_knows_about_itself_and_its_models(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            assert await client.live()
            assert await client.ready()
            assert await client.ready("FP32", 1)
            assert not await client.ready("nobody")
            assert (await client.server_metadata()).name == "shoal"
            metadata = await client.metadata("FP32")
            assert (metadata.inputs[0].name, metadata.inputs[0].shape) == ("x", (-1, 2))
            assert (await client.config("FP32")).max_batch_size > 0
            await client.infer("FP32", {"x": [[1, 2], [3, 4]]})
            statistics = (await client.statistics("FP32"))[0]
            assert statistics.rows >= 2
            assert statistics.stages["success"].mean_s > 0
            index = {(entry.name, entry.version): entry.state for entry in await client.repository_index()}
            assert index["FP32", "1"] == "READY"
            with pytest.raises(NotFound):
                await client.metadata("nobody")

    run(main())


def test_extensions_that_a_server_does_not_offer_are_refused_by_name(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            assert (await client.infer("FP32", {"x": [1, 2]}, priority=1))["y"].tolist() == [[1, 2]]
            with pytest.raises((Unsupported, InvalidRequest)):
                await client.load_model("FP32", config_json="{}")

    run(main())


def test_versions_answer_by_number(tmp_path: Path, run: Run) -> None:
    for version in (1, 2):
        models.save(tmp_path, "m", plus(version), version=version)
    (tmp_path / "m" / "model.toml").write_text("[versions]\nall = true\n")

    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            for version in (1, 2, "1"):
                result = await client.infer("m", {"x": [0, 0]}, version=version)
                assert result["y"][0, 0] == float(version)
                assert result.model_version == str(version)

    with running_server(tmp_path) as running:
        run(main(running.address))


def test_a_server_that_drains_costs_its_callers_no_call(tmp_path: Path, run: Run) -> None:
    models.save(tmp_path, "m", models.identity("FP32"))
    row = {"x": np.ones((1, 2), np.float32)}

    async def main(draining: str, staying: str) -> None:
        async with AsyncClient([draining, staying]) as client:
            done = 0

            async def caller() -> None:
                nonlocal done
                while done < 600:
                    assert (await client.infer("m", row))["y"].tolist() == [[1, 1]]
                    done += 1
                    if done == 200:
                        assert await client.admin_at(draining).drain(wait_s=10) == 0

            await asyncio.gather(*[caller() for _ in range(8)])
            counts = [(await client.statistics("m", target=target))[0].rows for target in (draining, staying)]
            assert sum(counts) == done
            assert counts[0] <= 220 < counts[1]
            assert await client.admin_at(draining).drain(undo=True) == 0
            assert await client.ready(target=draining)

    with running_server(tmp_path) as first, running_server(tmp_path) as second:
        run(main(first.address, second.address))
