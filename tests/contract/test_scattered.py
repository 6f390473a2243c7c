"""What is promised of elements that lie where they came in: by the native crate's, and by the fake that tests use."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from shoal.inference.grpc_service_pb2 import ModelInferRequest
from shoal_server.rpc.plain import plain_reader
from shoal_server.tensors.value import Raw, Scattered
from shoal_testing.scattered import FakeScattered

RAW = np.random.default_rng(0).bytes(3 << 20)


@dataclass
class Call:
    message: bytes


def read(raw: bytes) -> Raw:
    """Return what is read of a request with such elements."""
    request = ModelInferRequest(raw_input_contents=[raw])
    request.inputs.add(name="x", datatype="UINT8", shape=[len(raw)])
    plain = plain_reader().read(Call(request.SerializeToString()))  # type: ignore[arg-type] # all that it looks at
    assert plain is not None
    return plain[2][0]


def native(raw: bytes) -> Scattered:
    if importlib.util.find_spec("shoal_native") is None:
        pytest.skip("the crate is not installed")
    elements = read(raw)
    assert not isinstance(elements, bytes)
    return elements


@pytest.mark.parametrize("make", [native, FakeScattered])
def test_scattered_elements_are_cut_and_copied_as_bytes_would_be(make: Callable[[bytes], Scattered]) -> None:
    elements = make(RAW)
    assert (len(elements), elements.tobytes()) == (len(RAW), RAW)
    for part in (slice(None), slice(5, 1 << 20), slice(1 << 21, None), slice(7, 7), slice(9, 1 << 40)):
        cut = elements[part]
        assert (len(cut), cut.tobytes()) == (len(RAW[part]), RAW[part])
    within = elements[100 : 2 << 20][10 : 1 << 20]
    whole = np.empty(len(within), np.uint8)
    within.copy_to(whole)
    assert whole.tobytes() == RAW[110 : 100 + (1 << 20)]
    assert elements.tobytes() == RAW


@pytest.mark.parametrize("make", [native, FakeScattered])
def test_scattered_elements_are_copied_to_where_they_just_fit_in(make: Callable[[bytes], Scattered]) -> None:
    elements = make(RAW)
    for wrong in (len(RAW) - 1, len(RAW) + 1, 0):
        with pytest.raises(ValueError, match="more elements or fewer"):
            elements.copy_to(np.empty(wrong, np.uint8))
    with pytest.raises(BufferError):
        elements.copy_to(bytes(len(RAW)))
    with pytest.raises(ValueError, match="not picked"):
        _ = elements[::2]


def test_copying_scattered_elements_leaves_nothing_behind() -> None:
    elements = native(RAW)
    whole = np.empty(len(RAW), np.uint8)
    elements.copy_to(whole)
    before = sys.getallocatedblocks()
    for _ in range(100):
        elements.copy_to(whole)
    assert sys.getallocatedblocks() - before < 100


@pytest.mark.skipif(importlib.util.find_spec("shoal_native") is None, reason="the crate is not installed")
def test_few_elements_come_as_bytes() -> None:
    assert read(RAW[:1000]) == RAW[:1000]
