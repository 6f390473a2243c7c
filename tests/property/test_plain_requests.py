"""Reading a plain request in Rust gives what protobuf gives, and whatever is not plain is left to protobuf."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.inference.grpc_service_pb2 import ModelInferRequest
from shoal_server.errors import ShoalError
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.encode import id_field
from shoal_server.rpc.plain import plain_reader

pytestmark = pytest.mark.skipif(importlib.util.find_spec("shoal_native") is None, reason="the crate is not installed")

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@dataclass
class Call:
    message: bytes


def assert_same(message: bytes) -> bool:
    """Hold the two readings against each other; return whether the request is plain."""
    plain = plain_reader().read(Call(message))  # type: ignore[arg-type] # all that it looks at
    if plain is None:
        return False
    (model, version, inputs, outputs), own, data, size_bytes = plain
    request = parse(message)
    domain = decode(request, len(message), None)
    assert (model, version, outputs) == (domain.model, domain.version, tuple(domain.outputs))
    assert [(*form, elements) for form, elements in zip(inputs, data, strict=True)] == [*map(tuple, domain.tensors)]
    assert (own, size_bytes, domain.timeout_s) == (id_field(request.id), len(message), None)
    return True


texts = st.text(max_size=20)
tensors = st.tuples(texts, texts, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.binary(max_size=50))


@given(texts, texts, texts, st.lists(tensors, min_size=1, max_size=4), st.lists(texts, max_size=3))
def test_a_plain_request_is_read_as_protobuf_reads_it(
    model: str, version: str, own: str, inputs: list[tuple[str, str, list[int], bytes]], outputs: list[str]
) -> None:
    request = ModelInferRequest(model_name=model, model_version=version, id=own)
    for name, datatype, shape, data in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(data)
    for name in outputs:
        request.outputs.add(name=name)
    assert assert_same(request.SerializeToString())


@given(st.binary(max_size=300))
def test_junk_is_read_as_protobuf_reads_it_or_not_at_all(message: bytes) -> None:
    assert_same_or_refused(message)


@given(st.data())
def test_a_request_with_a_byte_changed_is_read_as_protobuf_reads_it_or_not_at_all(data: st.DataObject) -> None:
    request = ModelInferRequest(model_name="m", id="i", raw_input_contents=[bytes(8)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    message = bytearray(request.SerializeToString())
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    assert_same_or_refused(bytes(message))


@pytest.mark.parametrize("padding", range(7))
def test_a_tag_that_is_longer_than_it_need_be_is_read_as_protobuf_reads_it_or_not_at_all(padding: int) -> None:
    request = ModelInferRequest(model_name="m", raw_input_contents=[bytes(8)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    own = b"\x9a" + b"\x80" * padding + b"\x00" + b"\x01i"
    assert_same_or_refused(own + request.SerializeToString())


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus_is_read_as_protobuf_reads_it_or_not_at_all(path: Path) -> None:
    assert_same_or_refused(path.read_bytes())


def assert_same_or_refused(message: bytes) -> None:
    try:
        parse(message)
    except ShoalError:
        assert plain_reader().read(Call(message)) is None  # type: ignore[arg-type] # all that it looks at
        return
    assert_same(message)


def test_what_is_kept_of_forms_is_bounded_in_bytes() -> None:
    reader = plain_reader()

    def form_of(number: int) -> object:
        request = ModelInferRequest(model_name=str(number), raw_input_contents=[b""] * 30)
        for _ in request.raw_input_contents:
            request.inputs.add(shape=[1000] * 64)
        plain = reader.read(Call(request.SerializeToString()))  # type: ignore[arg-type] # all that it looks at
        assert plain is not None
        return plain[0]

    # A form of four kilobytes, all of them dimensions, is some seventy as objects of Python.
    forms = [form_of(number) for number in range(1000)]
    kept = [number for number in reversed(range(1000)) if form_of(number) is forms[number]]
    assert 0 < len(kept) < 200
