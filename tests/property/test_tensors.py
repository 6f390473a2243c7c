"""Tensors under any input: what is taken survives batching bit for bit, and what is refused is refused politely."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.errors import InvalidRequest
from shoal_server.tensors.batch import WHOLE, assemble, blocks_of
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Signature, Tensor, TensorSpec
from shoal_server.tensors.text import decode_text, encode_text
from shoal_testing.fakes import tensor

Array = npt.NDArray[Any]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SIZES = st.integers(0, 3)


@given(st.lists(TEXTS))
def test_any_strings_survive_the_way_out_and_back(texts: list[str]) -> None:
    assert decode_text("x", b"".join(encode_text(texts)), len(texts)) == texts


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.binary(max_size=4)).map(lambda items: b"".join(len(i).to_bytes(4, "little") + i for i in items)),
    ),
    st.integers(0, 12),
)
def test_any_bytes_are_so_many_strings_or_refused(raw: bytes, count: int) -> None:
    try:
        texts = decode_text("x", raw, count)
    except InvalidRequest:
        return
    assert len(texts) == count
    assert b"".join(encode_text(texts)) == raw


@st.composite
def batches(draw: st.DrawFn) -> tuple[DataType, list[Tensor], int]:
    """A type, members of one inner shape, and rows to pad to."""
    datatype = draw(st.sampled_from(list(DataType)))
    tail = tuple(draw(st.lists(SIZES, max_size=2)))
    members = []
    for rows in draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)):
        count = rows * int(np.prod(tail))
        if datatype is DataType.BYTES:
            data = b"".join(encode_text(draw(st.lists(TEXTS, min_size=count, max_size=count))))
        elif datatype is DataType.BOOL:
            data = bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
        else:
            size_bytes = count * datatype.itemsize
            data = draw(st.binary(min_size=size_bytes, max_size=size_bytes))
        members.append(Tensor("x", datatype.value, (rows, *tail), data))
    return datatype, members, draw(st.integers(0, 16))


@given(batches())
def test_each_member_of_any_batch_gets_its_own_bytes_back(batch: tuple[DataType, list[Tensor], int]) -> None:
    datatype, members, padded_rows = batch
    dims = ("",) * len(members[0].shape)
    signature = Signature((TensorSpec("x", datatype, dims),), (TensorSpec("y", datatype, dims),), batched=True)
    checked = [signature.check([member]) for member in members]
    assert len({one.key for one in checked}) == 1
    rows = sum(one.rows for one in checked)
    arrays = [array for array in assemble(signature, [one.values for one in checked], padded_rows) if array is not None]
    assert arrays[0].shape[0] == max(rows, padded_rows)
    (block,) = blocks_of(signature, arrays, max(rows, padded_rows))
    start = 0
    for member, one in zip(members, checked, strict=True):
        assert block.shape(one.rows) == member.shape
        assert bytes(block.raw(start, one.rows)) == member.data
        start += one.rows


@given(
    st.sampled_from(list(DataType)),
    st.sampled_from(["FP32", "BYTES", "BOOL", "INT64", "fp32", "", "\x00"]),
    st.one_of(
        st.lists(st.one_of(SIZES, st.integers(-(2**63), 2**63 - 1)), max_size=4),
        st.lists(st.just(1), min_size=30, max_size=40),
    ),
    st.binary(max_size=64),
    st.sampled_from([None, (), ("",), ("", ""), (2, ""), (1, 2, 3)]),
)
def test_any_tensor_is_taken_whole_or_refused(
    datatype: DataType, sent_type: str, shape: list[int], data: bytes, dims: tuple[int | str, ...] | None
) -> None:
    signature = Signature((TensorSpec("x", datatype, dims),), (TensorSpec("y", datatype, dims),), batched=False)
    try:
        checked = signature.check([Tensor("x", sent_type, tuple(shape), data)])
    except InvalidRequest:
        return
    (array,) = assemble(signature, [checked.values], 0)
    assert array is not None
    assert array.shape == tuple(shape)
    (block,) = blocks_of(signature, [array], WHOLE)
    assert bytes(block.raw(0, WHOLE)) == data


@given(st.lists(st.sampled_from(["x", "w", "o", "q", ""]), max_size=5))
def test_any_set_of_names_is_taken_only_if_each_input_is_there_once(names: list[str]) -> None:
    inputs = tuple(TensorSpec(name, DataType.INT8, (1,), optional=name == "o") for name in "xwo")
    signature = Signature(inputs, (), batched=False)
    sent = [tensor(name, np.zeros(1, np.int8)) for name in names]
    fits = sorted(set(names) | {"o"}) == ["o", "w", "x"] and len(set(names)) == len(names)
    try:
        checked = signature.check(sent)
    except InvalidRequest:
        assert not fits
        return
    assert fits
    assert [value is not None for value in checked.values] == [name in names for name in "xwo"]


REQUESTS = st.lists(
    st.lists(
        st.builds(
            Tensor,
            st.sampled_from(["x", "w", "o", "t"]),
            st.sampled_from(["INT8", "INT8", "INT8", "BOOL", "BYTES", "INT16"]),
            st.lists(st.integers(-1, 3), max_size=2).map(tuple),
            st.binary(max_size=6),
        ),
        max_size=3,
    ),
    max_size=12,
)
INPUTS = st.lists(
    st.builds(
        TensorSpec,
        st.just(""),
        st.sampled_from([DataType.INT8, DataType.INT8, DataType.BOOL, DataType.BYTES]),
        st.sampled_from([("",), ("", ""), (2,), ("", 3)]),
        optional=st.booleans(),
    ),
    max_size=3,
)


def outcome(signature: Signature, request: list[Tensor]) -> object:
    """What a signature makes of a request, or its complaint."""
    try:
        return signature.check(request)
    except InvalidRequest as error:
        return str(error)


@given(INPUTS, st.sampled_from([True, False]), REQUESTS)
def test_a_signature_says_the_same_of_a_request_whatever_it_was_asked_before(
    specs: list[TensorSpec],
    batched: bool,  # noqa: FBT001
    requests: list[list[Tensor]],
) -> None:
    inputs = tuple(replace(spec, name=name) for spec, name in zip(specs, "xwo", strict=False))
    asked_often = Signature(inputs, (), batched=batched)
    for request in [*requests, *requests]:
        assert outcome(asked_often, request) == outcome(Signature(inputs, (), batched=batched), request)
