"""Whatever bytes come: a request or a refusal whose text callers may read; and what is admitted assembles into arrays.

Every file of ``corpus`` is tried by the ordinary suite; an input that ever broke something becomes such a file.
"""

import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.errors import InvalidRequest, Unsupported
from shoal_server.rpc import structure
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.errors import status_of
from shoal_server.rpc.packed import fixed_numbers
from shoal_server.rpc.structure import FREE_BYTES, MALFORMED, MOST_FIELDS, check_structure
from shoal_server.rpc.wire import field_header
from shoal_server.service import InferenceRequest
from shoal_server.tensors.batch import assemble
from shoal_server.tensors.spec import Signature
from shoal_server.tensors.text import decode_text, encode_text
from shoal_server.transport.port import Status
from shoal_testing.odd_requests import INT64, RAW, SIGNATURES, mutated, requests, right_requests
from shoal_testing.refusals import assert_for_callers
from shoal_testing.wire_messages import wire_message

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
MUTATIONS = 3_000
MUTATIONS_OF_A_LONG_RUN = 1_000_000


def admit(message: bytes) -> InferenceRequest | None:
    """Do to a message all that is done to it before it is in a batch, for every kind of model."""
    try:
        domain = decode(parse(message), len(message), None)
    except (InvalidRequest, Unsupported) as error:
        status, text = status_of(error)
        assert status in (Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED)
        assert_for_callers(text)
        return None
    for signature in SIGNATURES:
        try:
            checked = signature.check(domain.tensors)
            signature.check_outputs(domain.outputs)
        except InvalidRequest as error:
            assert_for_callers(status_of(error)[1])
            continue
        arrays = assemble(signature, [checked.values], 0)
        for spec, value, array in zip(signature.inputs, checked.values, arrays, strict=True):
            assert (value is None) == (array is None)
            if value is not None and array is not None:
                assert array.shape == value.shape
                assert array.dtype == spec.datatype.dtype
        assert signature.check(domain.tensors) == checked, "the second time, by the form that is known"
    return domain


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    admit(path.read_bytes())


@given(requests())
def test_requests_that_are_wrong_in_some_respects(request: pb.ModelInferRequest) -> None:
    admit(request.SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    admit(message)


def test_mutations_of_the_corpus(seed: int) -> None:
    _mutate(seed, MUTATIONS)


@pytest.mark.slow
def test_many_mutations_of_the_corpus(seed: int) -> None:
    _mutate(seed, MUTATIONS_OF_A_LONG_RUN)


@pytest.mark.slow
@settings(max_examples=20_000)
@given(requests())
def test_many_requests_that_are_wrong_in_some_respects(request: pb.ModelInferRequest) -> None:
    admit(request.SerializeToString())


def _mutate(seed: int, count: int) -> None:
    random = Random(seed)
    messages = [path.read_bytes() for path in CORPUS]
    for _ in range(count):
        message = mutated(random.choice(messages), random)
        try:
            if admit(message) is not None and random.random() < 0.1:
                messages[random.randrange(len(messages))] = message
        except Exception as error:
            error.add_note(f"of {message.hex()}, seed {seed}")
            raise


# --- What the server reads by itself, against protobuf and against the obvious way -----------------------------------


@given(requests())
def test_the_look_at_the_structure_lets_every_request_of_few_parts_pass(request: pb.ModelInferRequest) -> None:
    request.parameters["large"].string_param = "p" * FREE_BYTES
    check_structure(request.SerializeToString())


@given(requests(), st.integers(0, 2**32))
def test_the_look_at_the_structure_ends_in_nothing_or_a_refusal(request: pb.ModelInferRequest, seed: int) -> None:
    message = mutated(request.SerializeToString(), Random(seed)) + field_header(99, FREE_BYTES) + bytes(FREE_BYTES)
    try:
        check_structure(message)
    except InvalidRequest as error:
        assert_for_callers(status_of(error)[1])


OVERLONG = b"\xff" * 11
OUTPUT_WITH_CONTENTS = b"\x32\x0d\x2a\x0b" + OVERLONG  # field 5 of an output, which has none
UNKNOWN_GROUP = b"\xa3\x06\x2a\x0b" + OVERLONG + b"\xa4\x06"  # field 100


@pytest.mark.parametrize("key", [OUTPUT_WITH_CONTENTS, UNKNOWN_GROUP], ids=["output", "group"])
def test_no_unknown_field_hides_what_comes_after_it(key: bytes) -> None:
    message = b"\x0a\x01m" + key
    assert parse(message).model_name == "m", "protobuf skips it"
    with pytest.raises(InvalidRequest, match=f"more than {MOST_FIELDS} fields"):
        parse(message + b"\x2a\x00" * 100_000)


def test_whoever_passes_the_look_at_the_structure_has_no_more_parts_for_protobuf(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    monkeypatch.setattr(structure, "FREE_BYTES", 0)
    accepted = 0
    for _ in range(5 * MUTATIONS):
        message, most = wire_message(random), random.randint(0, 8)
        monkeypatch.setattr(structure, "MOST_FIELDS", most)
        refusal = ""
        try:
            check_structure(message)
        except InvalidRequest as error:
            refusal = str(error)
        try:
            request = pb.ModelInferRequest.FromString(message)
        except DecodeError:
            continue
        accepted += 1
        assert refusal != MALFORMED, message.hex()
        inside = sum(len(one.parameters) for one in request.inputs) + sum(
            len(one.parameters) for one in request.outputs
        )
        parts = len(request.inputs) + len(request.outputs) + len(request.raw_input_contents) + len(request.parameters)
        assert refusal or parts + inside <= most, message.hex()
    assert accepted > MUTATIONS / 2


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_messages_of_a_mebibyte_made_of_the_corpus_are_looked_through_in_no_time(path: Path) -> None:
    message = path.read_bytes()
    repeated = message * ((1 << 20) // max(len(message), 1))
    began_s = time.thread_time()
    try:
        check_structure(repeated)
    except InvalidRequest as error:
        assert_for_callers(status_of(error)[1])
    assert time.thread_time() - began_s < 0.5


@given(
    st.lists(st.booleans(), max_size=300), st.lists(st.floats(width=32)), st.lists(st.floats()), st.binary(max_size=9)
)
def test_typed_numbers_are_taken_as_protobuf_has_them(
    truths: list[bool], singles: list[float], doubles: list[float], unknown: bytes
) -> None:
    for contents, field, array in (
        (pb.InferTensorContents(bool_contents=truths), "bool_contents", np.array(truths, "?")),
        (pb.InferTensorContents(fp32_contents=singles), "fp32_contents", np.array(singles, "<f4")),
        (pb.InferTensorContents(fp64_contents=doubles), "fp64_contents", np.array(doubles, "<f8")),
    ):
        contents.MergeFromString(field_header(77, len(unknown)) + unknown)
        assert fixed_numbers(contents, field) == array.tobytes()


@given(right_requests())
def test_right_requests_are_admitted_by_some_model(request: pb.ModelInferRequest) -> None:
    """Also the proof that the others are tried with more than refusals."""
    domain = admit(request.SerializeToString())
    assert domain is not None
    assert any(_fits(signature, domain) for signature in SIGNATURES)


def _fits(signature: Signature, domain: InferenceRequest) -> bool:
    try:
        signature.check(domain.tensors)
    except InvalidRequest:
        return False
    return True


@given(st.integers(0, 2**32 - 1))
@example(0x7FA00001)
def test_a_typed_float_keeps_its_bits_even_where_it_is_no_number(bits: int) -> None:
    four = bits.to_bytes(4, "little")
    contents = pb.InferTensorContents.FromString(b"\x32\x04" + four)
    assert fixed_numbers(contents, "fp32_contents") == four


@given(st.lists(st.text()))
def test_strings_come_back(texts: list[str]) -> None:
    raw = b"".join(encode_text(texts))
    assert decode_text("x", raw, len(texts)) == texts


@given(st.lists(RAW).map(b"".join), st.integers(0, 6) | st.sampled_from([2**20, INT64, INT64**4]))
def test_strings_are_read_as_the_protocol_says_or_refused(raw: bytes, count: int) -> None:
    try:
        texts = decode_text("x", raw, count)
    except InvalidRequest as error:
        assert_for_callers(str(error))
        assert _obvious(raw, count) is None
    else:
        assert texts == _obvious(raw, count)


def _obvious(raw: bytes, count: int) -> list[str] | None:
    texts = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        element, rest = raw[4 : 4 + size], raw[4 + size :]
        if len(raw) < 4 or len(element) < size:
            return None
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            return None
        raw = rest
    return texts if len(texts) == count else None


@given(st.binary(max_size=100))
def test_what_protobuf_cannot_read_is_refused_and_the_rest_is_read_alike(message: bytes) -> None:
    try:
        wanted = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        with pytest.raises(InvalidRequest, match="malformed"):
            parse(message)
    else:
        assert parse(message) == wanted
