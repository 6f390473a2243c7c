"""Every type of elements, from the client through the real server and back."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from shoal_client import AsyncClient
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server

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
