"""The client and the real server: inference, types, refreshed metadata, coalescing, streams, information."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from shoal_client import (
    AsyncClient,
    CallError,
    Client,
    Coalescing,
    DeadlineExceeded,
    InvalidInput,
    InvalidRequest,
    NotFound,
    Overloaded,
    Result,
    Unsupported,
)
from shoal_testing import models
from shoal_testing.at_rest import wait_until_held
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus

Run = Callable[[Coroutine[Any, Any, None]], None]

VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    **{f"UINT{bits}": np.array([[0, 2**bits - 1]], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{
        f"INT{bits}": np.array([[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]], f"i{bits // 8}") for bits in (8, 16, 32, 64)
    },
    "FP16": np.array([[1.5, -np.inf]], np.float16),
    "BF16": np.array([[1.5, -np.inf]], ml_dtypes.bfloat16),
    "FP32": np.array([[1.5, -0.0]], np.float32),
    "FP64": np.array([[1.5, 5e-324]]),
    "BYTES": np.array([["", "pässi 🐟"]], object),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for datatype in models.ONNX_TYPES:
        models.save(folder, datatype, models.identity(datatype))
    models.save(folder, "gather", models.gather())
    models.save(folder, "scalars", models.scalars())
    models.save(folder, "softmax", models.softmax_over_batch())
    with running_server(folder) as running:
        yield running


@pytest.mark.parametrize("datatype", list(VALUES))
def test_every_type_travels_both_ways_bit_by_bit(served: RunningServer, run: Run, datatype: str) -> None:
    sent = VALUES[datatype]

    async def main() -> None:
        async with AsyncClient(served.address) as client:
            result = await client.infer(datatype, {"x": sent})
            if datatype == "BYTES":
                assert result["y"].tolist() == [[text.encode() for text in sent[0]]]
                assert result.text("y").tolist() == sent.tolist()
            else:
                assert result["y"].dtype == sent.dtype
                assert result["y"].tobytes() == sent.tobytes()

    run(main())


@pytest.mark.parametrize("datatype", [name for name in VALUES if name != "BF16"])
def test_lists_travel_as_the_type_that_the_metadata_names(served: RunningServer, run: Run, datatype: str) -> None:
    sent = VALUES[datatype].tolist()

    async def main() -> None:
        async with AsyncClient(served.address) as client:
            whole = await client.infer(datatype, {"x": sent})
            row = await client.infer(datatype, {"x": sent[0]})
            received = whole.text("y") if datatype == "BYTES" else whole["y"]
            assert received.tolist() == sent
            assert row["y"].tolist() == whole["y"].tolist(), "a row may be given without its batch"

    run(main())


def test_bits_of_bf16_are_sent_as_what_the_model_takes(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            bits = VALUES["BF16"].view(np.uint16)
            assert (await client.infer("BF16", {"x": bits}))["y"].view(np.uint16).tolist() == bits.tolist()
            listed = await client.infer("BF16", {"x": [1.5, 2.0]})
            assert listed["y"].astype(np.float32).tolist() == [[1.5, 2.0]]

    run(main())


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


def test_concurrent_rows_travel_together_and_each_gets_its_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing(max_rows=16)) as client:
            before = (await client.statistics("FP32"))[0].stages["success"].count
            rows = [np.array([[number, -number]], np.float32) for number in range(64)]
            results = await asyncio.gather(*[client.infer("FP32", {"x": row}) for row in rows])
            for row, result in zip(rows, results, strict=True):
                assert result["y"].tolist() == row.tolist()
                assert result.timings.rows_together == 16
            after = (await client.statistics("FP32"))[0].stages["success"].count
            assert after - before == 4

    run(main())


def test_a_row_at_fault_fails_alone_among_those_it_travelled_with(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing(max_rows=8)) as client:
            ids = [0, 1, 2, 99, 4, 5, 6, 7]  # the model has 8 vectors
            calls = [client.infer("gather", {"ids": np.array([[number]])}) for number in ids]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for number, outcome in zip(ids, outcomes, strict=True):
                if number == 99:
                    assert isinstance(outcome, CallError)
                    assert outcome.model == "gather"
                else:
                    assert isinstance(outcome, Result)
                    assert outcome["vectors"][0, 0, 0] == number

    run(main())


def test_rows_that_influence_each_other_never_travel_together(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing()) as client:
            rows = [np.full((1, 3), number, np.float32) for number in range(8)]
            results = await asyncio.gather(*[client.infer("softmax", {"x": row}) for row in rows])
            assert all(result["y"].tolist() == [[1, 1, 1]] for result in results), "each column of one row sums to 1"
            assert {result.timings.rows_together for result in results} == {0}

    run(main())


def test_a_deadline_passes_for_its_own_row_only(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        with gated(served, "FP32") as gate:
            async with AsyncClient(served.address, coalescing=Coalescing()) as client:
                row = np.ones((1, 2), np.float32)
                patient = asyncio.ensure_future(client.infer("FP32", {"x": row}))
                hurried = asyncio.ensure_future(client.infer("FP32", {"x": row}, timeout_s=0.3))
                with pytest.raises(DeadlineExceeded):
                    await hurried
                gate.open()
                result = await patient
                assert result["y"].tolist() == [[1, 1]]
                assert result.timings.rows_together == 2

    run(main())


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


def test_many_keep_their_order_and_tell_their_progress(served: RunningServer, run: Run) -> None:
    told: list[tuple[int, int | None]] = []

    async def main() -> None:
        async with AsyncClient(served.address) as client:
            items = [{"x": [number, 0]} for number in range(50)]
            results = [
                result["y"][0, 0]
                async for result in client.infer_many(
                    "FP32", items, concurrency=8, progress=lambda done, total: told.append((done, total))
                )
            ]
            assert results == list(range(50))

    run(main())
    assert told == [(done, 50) for done in range(1, 51)]


def test_a_stream_keeps_order_bound_and_failures_apart(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            ids = [0, 1, 99, 3, 4]
            outcomes = [
                outcome
                async for outcome in client.stream(
                    "gather", ({"ids": [number]} for number in ids), max_in_flight=2, errors="return"
                )
            ]
            for number, outcome in zip(ids, outcomes, strict=True):
                if number == 99:
                    assert isinstance(outcome, CallError)
                    assert "out of data bounds" in outcome.details or "index" in outcome.details.lower()
                else:
                    assert isinstance(outcome, Result)
                    assert outcome["vectors"][0, 0, 0] == number
            with pytest.raises(CallError):
                async for _ in client.stream("gather", [{"ids": [99]}]):
                    pass
            assert [result async for result in client.stream("gather", [])] == []

    run(main())


def test_many_streams_at_once_each_get_their_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:

            async def one(start: int) -> None:
                items = [{"x": np.full((1, 2), start + number, np.float32)} for number in range(50)]
                received = [result["y"][0, 0] async for result in client.stream("FP32", items)]
                assert received == [start + number for number in range(50)]

            await asyncio.gather(*[one(100 * stream) for stream in range(4)])

    run(main())


def test_a_deadline_in_a_stream_is_its_requests_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        with gated(served, "FP32") as gate:
            async with AsyncClient(served.address) as client:
                row = {"x": np.ones((1, 2), np.float32)}
                outcomes = [
                    outcome async for outcome in client.stream("FP32", [row, row], timeout_s=0.3, errors="return")
                ]
                assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 2
                gate.open()

    run(main())


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


def test_a_blocking_client_does_all_of_it(served: RunningServer) -> None:
    told: list[int] = []
    with Client(served.address) as client:
        assert client.infer("FP32", {"x": [1, 2]}, request_id="mine").id == "mine"
        items = [{"x": [number, 0]} for number in range(30)]
        many = client.infer_many("FP32", iter(items), concurrency=4, progress=lambda done, _total: told.append(done))
        assert [result["y"][0, 0] for result in many] == list(range(30))
        assert told == list(range(1, 31))
        assert [result["y"][0, 0] for result in client.stream("FP32", items, max_in_flight=4)] == list(range(30))
        wrong = list(client.infer_many("gather", [{"ids": [0]}, {"ids": [99]}], errors="return"))
        assert isinstance(wrong[0], Result)
        assert isinstance(wrong[1], CallError)
        with pytest.raises(NotFound, match="unknown model 'nobody'"):
            client.infer("nobody", {"x": [1]})
        assert client.live()
        assert client.ready("FP32")
        assert client.server_metadata().name == "shoal"
        assert client.metadata("FP32").name == "FP32"
        assert client.config("FP32").name == "FP32"
        assert client.statistics("FP32")[0].rows > 0
        assert client.repository_index(ready=True)
        assert client.health()[0].healthy
        assert not client.renew_tls()
    client.close()
    assert "shoal-client" not in {thread.name for thread in threading.enumerate()}


def test_threads_share_a_blocking_client_and_their_rows_travel_together(served: RunningServer) -> None:
    with Client(served.address, coalescing=Coalescing(max_rows=16, max_delay_s=0.01)) as client:

        def one(number: int) -> tuple[float, int]:
            result = client.infer("FP32", {"x": np.full((1, 2), number, np.float32)})
            return float(result["y"][0, 0]), result.timings.rows_together

        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(one, range(200)))
    assert [value for value, _rows in outcomes] == list(range(200))
    assert max(rows for _value, rows in outcomes) > 1


def test_who_interrupts_a_blocking_call_cancels_it_at_the_server(served: RunningServer) -> None:
    with gated(served, "FP32") as gate, Client(served.address) as client:

        def interrupt() -> None:
            gate.wait_for_run()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            client.infer("FP32", {"x": np.ones((1, 2), np.float32)})
        interrupting.join()
        gate.open()
        assert client.infer("FP32", {"x": [1, 2]})["y"].tolist() == [[1, 2]]


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
