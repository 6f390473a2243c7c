"""The client and KServe's own server."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal_client import AsyncClient, Coalescing, NotFound, Unsupported

SERVER = Path(__file__).with_name("kserve_server.py")

Run = Callable[[Coroutine[Any, Any, None]], None]

# The first to ask for `served` waits for the import of kserve, which takes seconds, many on a busy machine.
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    command = [sys.executable, "-W", "ignore", str(SERVER)]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("port ")), "")
        assert line, "kserve did not start"
        yield f"127.0.0.1:{line.split()[1]}"
        process.stdin.close()
        process.wait(30)


def test_kserve_answers_arrays_and_lists_typed_and_raw(served: str, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served) as client:
            assert await client.live()
            assert await client.ready("doubler")
            assert (await client.metadata("doubler")).inputs[0].shape == (-1, 2)
            typed = await client.infer("doubler", {"x": [1, 2]}, request_id="mine")
            assert typed["y"].tolist() == [[2, 4]]
            assert typed.id == "mine"
            raw = await client.infer("doubler", {"x": np.ones((3, 2), np.float32)})
            assert raw["y"].tolist() == [[2, 2]] * 3

    run(main())


def test_rows_travel_together_to_kserve_too(served: str, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served, coalescing=Coalescing()) as client:
            calls = [client.infer("doubler", {"x": [number, 0]}) for number in range(8)]
            results = await asyncio.gather(*calls)
            assert [result["y"][0, 0] for result in results] == [2 * number for number in range(8)]
            assert {result.timings.rows_together for result in results} == {8}

    run(main())


def test_what_kserve_lacks_is_said_plainly(served: str, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served) as client:
            with pytest.raises(NotFound, match="nobody"):
                await client.infer("nobody", {"x": [1, 2]})
            with pytest.raises(Unsupported):
                await client.infer("doubler", {"x": [1, 2]}, priority=1)
            with pytest.raises(Unsupported):
                await client.statistics()
            with pytest.raises(Unsupported):
                await anext(aiter(client.stream("doubler", [{"x": [1, 2]}])))

    run(main())
