"""Case 4: shapes that no tensor has, refused before anything of their size is made."""

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.caller import Caller
from shoal_testing.refusals import assert_refused

LARGEST = 2**63 - 1

IMPOSSIBLE: dict[str, list[int]] = {
    "2^31 squared": [2**31, 2**31],
    "a product that is 0 in 64 bits": [2**32, 2**32],
    "a product that is 2 in 64 bits": [LARGEST, 2, LARGEST],
    "the largest numbers there are": [LARGEST] * 32,
    "negative": [-1, 2],
    "negative twice, so that the product fits": [-1, -2],
    "the smallest number there is": [-(2**63), 2],
    "33 dimensions": [1] * 32 + [2],
    "10,000 dimensions": [1] * 10_000,
    "10,000 dimensions, one of them 0": [0] + [2**62] * 9999,
}


@pytest.mark.parametrize("model", ["pair", "any", "text"])
@pytest.mark.parametrize("shape", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("raw", [True, False])
def test_an_impossible_shape_is_refused_by_name(caller: Caller, model: str, shape: list[int], *, raw: bool) -> None:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="x", datatype="BYTES" if model == "text" else "FP32", shape=shape)
    if raw:
        request.raw_input_contents.append(bytes(8))
    elif model == "text":
        tensor.contents.bytes_contents.extend([b"", b""])
    else:
        tensor.contents.fp32_contents.extend([1, 2])
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'")


@pytest.mark.parametrize("shape", [[], [2], [1, 2, 1], [1, 1, 1, 2]])
def test_a_wrong_rank_is_refused_with_want_and_got(caller: Caller, shape: list[int]) -> None:
    request = pb.ModelInferRequest(model_name="pair", raw_input_contents=[bytes(8)])
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'", "[-1, 2]", f"got {shape}")


def test_a_dimension_of_the_wrong_size_is_refused_with_want_and_got(caller: Caller) -> None:
    request = pb.ModelInferRequest(model_name="pair", raw_input_contents=[bytes(12)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'", "[-1, 2]", "got [1, 3]")


@pytest.mark.parametrize("shape", [[0, 2], [0, 0, 0], [2**31, 0], [LARGEST, LARGEST, 0]])
def test_a_shape_without_elements_is_answered_or_refused_but_never_an_error_of_ours(
    caller: Caller, shape: list[int]
) -> None:
    request = pb.ModelInferRequest(model_name="any", raw_input_contents=[b""])
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    outcome = caller.infer(request)
    if outcome.status == "OK":
        assert outcome.array().shape == tuple(shape)
        assert not np.prod(np.array(shape, object))
    else:
        assert_refused(outcome, "INVALID_ARGUMENT", "'x'")
