"""What tests say to tritonclient, in one line each."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from shoal_testing import models
from shoal_testing.server import RunningServer

WITHIN_S = 10.0
_POLL_S = 0.005

V = TypeVar("V")

Array = npt.NDArray[Any]


def given(name: str, array: Array) -> Any:  # noqa: ANN401 - tritonclient has no types
    """Return an input with these elements, of the protocol's type for the array's."""
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array)


def rows(*numbers: float) -> Any:  # noqa: ANN401 - tritonclient has no types
    """Return the input ``x`` FP32 [len(numbers), 2] of the identity models, one number per row."""
    return given("x", np.repeat(np.array(numbers, np.float32)[:, None], 2, axis=1))


def asked(*names: str) -> list[Any]:
    """Return these outputs as a caller asks for them."""
    return [InferRequestedOutput(name) for name in names]


def raw(result: InferResult, name: str) -> bytes:
    """Return an output's elements as they came."""
    response = result.get_response()
    position = [output.name for output in response.outputs].index(name)
    contents: bytes = response.raw_output_contents[position]
    return contents


def first_column(result: InferResult, name: str = "y") -> list[float]:
    """Return the first column of an output [rows, columns]."""
    column: list[float] = result.as_numpy(name)[:, 0].tolist()
    return column


def status(error: InferenceServerException) -> str:
    """Return the name of an error's status, as in ``NOT_FOUND``."""
    return str(error.status()).removeprefix("StatusCode.")


def save_held(folder: Path, name: str, rows: int, model: bytes | None = None) -> None:
    """Write a model (by default ``x`` -> y, FP32 [N, 2]) whose requests wait until they are so many rows together."""
    path = models.save(folder, name, models.identity() if model is None else model)
    path.parents[1].joinpath("model.toml").write_text(
        f'[batching]\nmode = "always"\ndelay_ms = 600000\nmax_rows = {rows}\n'
    )


def inside(served: RunningServer, client: InferenceServerClient) -> int:
    """Return how many requests the server holds; makes a call, so that it may be asked ``eventually``."""
    assert client.is_server_live()
    return served.server.inside.requests


def eventually(value: Callable[[], V], wanted: V) -> V:
    """Ask until the answer is as wanted, and return it; the last one, where it never is.

    For what follows an answer and not a call: a server counts a batch after its members have their answers.
    """
    ends_s = monotonic() + WITHIN_S
    never = Event()
    while (found := value()) != wanted and monotonic() < ends_s:
        never.wait(_POLL_S)  # what is waited for needs the processor more
    return found
