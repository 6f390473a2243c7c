"""Requests of different lengths as one array and back: nobody sees the padding, and the model sees where it is."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.options import Generate
from shoal_server.tensors.batch import SplitError
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.padding import Member, assemble_padded, cut, is_cut
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_server.tensors.value import Value

INT, FLOAT = DataType.INT64, DataType.FP32
SIGNATURE = Signature(
    (
        TensorSpec("ids", INT, ("N", "L")),
        TensorSpec("series", FLOAT, ("N", 2, "L")),
        TensorSpec("mask", DataType.BOOL, ("N", "L", 1)),
        TensorSpec("length", DataType.INT32, ("N", 1)),
        TensorSpec("other", FLOAT, ("N", 3)),
    ),
    (TensorSpec("states", FLOAT, ("N", "L")), TensorSpec("late", FLOAT, ("N", 2, "L")), TensorSpec("y", FLOAT, ("N",))),
    batched=True,
    lengths=Lengths(
        (
            Column("ids", 1, -7, None),
            Column("series", 2, 0.5, None),
            Column("mask", 1, 0, Generate.MASK),
            Column("length", 0, 0, Generate.LENGTH),
            None,
        ),
        (1, 2, 0),
    ),
)


def value_of(array: npt.NDArray[Any]) -> Value:
    return Value(array.shape, array.tobytes())


def member_of(rows: int, length: int, number: int, *, says: bool = False) -> Member:
    """Return a member of numbers from ``number`` on; one that ``says`` sends mask and length itself, one shorter."""
    ids = number + np.arange(rows * length, dtype=np.int64).reshape(rows, length)
    series = np.stack([ids, -ids], axis=1).astype(np.float32)
    mask = np.ones((rows, length, 1), bool)
    mask[:, -1:] = False
    lengths = np.full((rows, 1), length - 1, np.int32)
    other = np.full((rows, 3), number, np.float32)
    sent = [value_of(mask), value_of(lengths)] if says else [None, None]
    return Member([value_of(ids), value_of(series), *sent, value_of(other)], rows, length)


@given(
    members=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.booleans()), min_size=1, max_size=5),
    longer=st.integers(0, 3),
    more_rows=st.integers(0, 3),
)
def test_every_member_stands_in_its_rows_and_padding_is_where_the_mask_says(
    members: list[tuple[int, int, bool]], longer: int, more_rows: int
) -> None:
    made = [member_of(rows, length, 100 * number, says=says) for number, (rows, length, says) in enumerate(members)]
    length = max(member.length for member in made) + longer
    rows = sum(member.rows for member in made)
    ids, series, mask, lengths, other = assemble_padded(SIGNATURE, made, length, rows + more_rows if more_rows else 0)
    assert ids is not None
    assert series is not None
    assert mask is not None
    assert lengths is not None
    assert other is not None
    assert (ids.shape, series.shape) == ((rows + more_rows, length), (rows + more_rows, 2, length))
    assert (mask.shape, lengths.shape, other.shape) == (
        (rows + more_rows, length, 1),
        (rows + more_rows, 1),
        (rows + more_rows, 3),
    )
    start = 0
    for number, (member, (_, _, says)) in enumerate(zip(made, members, strict=True)):
        place = slice(start, start + member.rows)
        own = 100 * number + np.arange(member.rows * member.length).reshape(member.rows, member.length)
        assert (ids[place, : member.length] == own).all()
        assert (ids[place, member.length :] == -7).all()
        assert (series[place, :, : member.length] == np.stack([own, -own], axis=1)).all()
        assert (series[place, :, member.length :] == 0.5).all()
        assert mask[place].sum(axis=(1, 2)).tolist() == [member.length - says] * member.rows
        assert not mask[place, member.length :].any()
        assert (lengths[place] == member.length - says).all()
        assert (other[place] == 100 * number).all()
        start += member.rows
    for array in (ids, series, mask, lengths, other):
        assert (array[rows:] == array[rows - 1]).all(), "missing rows repeat the last"


@given(
    members=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=5), extra=st.integers(0, 2)
)
def test_every_member_gets_its_rows_cut_to_its_length_as_views(members: list[tuple[int, int]], extra: int) -> None:
    made = [Member((), rows, length) for rows, length in members]
    rows, length = sum(member.rows for member in made) + extra, max(member.length for member in made)
    states = np.arange(rows * length, dtype=np.float32).reshape(rows, length)
    outputs = [states, np.stack([states, -states], axis=1), np.arange(rows, dtype=np.float32)]
    start = 0
    for member, views in zip(made, cut(SIGNATURE, outputs, made, (rows, length)), strict=True):
        own = states[start : start + member.rows, : member.length]
        assert (views[0] == own).all()
        assert (views[1] == np.stack([own, -own], axis=1)).all()
        assert views[2].tolist() == list(range(start, start + member.rows))
        assert all(np.shares_memory(view, whole) for view, whole in zip(views, outputs, strict=True))
        start += member.rows


def test_where_nobody_is_shorter_than_the_batch_nothing_is_cut() -> None:
    lengths = SIGNATURE.lengths
    assert lengths is not None
    assert not is_cut(lengths, [Member((), 1, 4), Member((), 2, 4)], 4)
    assert is_cut(lengths, [Member((), 1, 4)], 8), "an edge is longer"
    assert not is_cut(Lengths(lengths.columns, (0, 0, 0)), [Member((), 1, 4)], 8), "no output has a length"


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ([(3, 4), (3, 2, 4)], "the model declares 3 outputs and gave 2"),
        ([(3, 5), (3, 2, 4), (3,)], "output 'states' of shape [3, 5] has no length 4 on axis 1"),
        ([(3, 4), (3, 2), (3,)], "output 'late' of shape [3, 2] has no length 4 on axis 2"),
        ([(3, 4), (3, 2, 4), (4,)], "output 'y' has shape [4] for 3 rows"),
        ([(3, 4), (3, 2, 4), ()], "output 'y' has shape [] for 3 rows"),
    ],
)
def test_outputs_that_cannot_be_cut_answer_nobody(outputs: list[tuple[int, ...]], complaint: str) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in outputs]
    with pytest.raises(SplitError) as raised:
        cut(SIGNATURE, arrays, [Member((), 1, 2), Member((), 2, 4)], (3, 4))
    assert str(raised.value) == complaint


def test_texts_are_filled_up_with_texts() -> None:
    signature = Signature(
        (TensorSpec("words", DataType.BYTES, ("N", "L")),),
        (),
        batched=True,
        lengths=Lengths((Column("words", 1, "[PAD]", None),), ()),
    )
    members = [Member([Value((1, 1), ["a"])], 1, 1), Member([Value((1, 3), ["b", "c", "d"])], 1, 3)]
    (words,) = assemble_padded(signature, members, 3)
    assert words is not None
    assert words.tolist() == [["a", "[PAD]", "[PAD]"], ["b", "c", "d"]]
