"""Requests of different lengths as one batch: filled up on the way in, cut on the way out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shoal_server.tensors.batch import Array, SplitError, as_array, concatenate, pad_rows, require_rows
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_server.tensors.value import Value


class Member(NamedTuple):
    """One request of a batch: its inputs in the signature's order (None for what is left out), rows and length."""

    values: Sequence[Value | None]
    rows: int
    length: int


def assemble_padded(
    signature: Signature, members: Sequence[Member], length: int, padded_rows: int = 0
) -> list[Array | None]:
    """Return one array per input, in which every member has the given length, at least that of the longest.

    What is missing to ``padded_rows`` rows repeats the last row. Memory is set out once for each input.
    """
    lengths = signature.lengths
    assert lengths is not None, "the signature knows what varies"
    rows = sum([member.rows for member in members])
    arrays = []
    for index, (spec, column) in enumerate(zip(signature.inputs, lengths.columns, strict=True)):
        values = [member.values[index] for member in members]
        if column is None or (column.generate is None and all(member.length == length for member in members)):
            arrays.append(_unpadded(spec, values, padded_rows))
        elif column.axis:
            arrays.append(_padded(spec, column, members, values, (max(rows, padded_rows), rows, length)))
        else:
            numbers = np.empty((max(rows, padded_rows), *spec.shape[1:]), spec.datatype.dtype)
            start = 0
            for member, value in zip(members, values, strict=True):
                sent = member.length if value is None else as_array(spec, value.shape, value.payload)
                numbers[start : start + member.rows] = sent
                start += member.rows
            numbers[rows:] = numbers[rows - 1 : rows]
            arrays.append(numbers)
    return arrays


def _unpadded(spec: TensorSpec, values: Sequence[Value | None], padded_rows: int) -> Array | None:
    if len(values) == 1:
        value = values[0]
        array = None if value is None else as_array(spec, value.shape, value.payload)
    else:
        array = concatenate(spec, values)
    return pad_rows(array, padded_rows) if array is not None and padded_rows else array


def _padded(
    spec: TensorSpec,
    column: Column,
    members: Sequence[Member],
    values: Sequence[Value | None],
    sizes: tuple[int, int, int],
) -> Array:
    """``sizes``: all rows, those that are somebody's, and the length."""
    padded_rows, rows, length = sizes
    axis = column.axis
    tail = next((value.shape[1:] for value in values if value is not None), spec.shape[1:])
    shape = (padded_rows, *tail[: axis - 1], length, *tail[axis:])
    whole: Array = np.full(shape, column.pad, spec.datatype.dtype)
    before = (slice(None),) * (axis - 1)
    start = 0
    for member, value in zip(members, values, strict=True):
        place = (slice(start, start + member.rows), *before, slice(member.length))
        whole[place] = 1 if value is None else as_array(spec, value.shape, value.payload)
        start += member.rows
    whole[rows:] = whole[rows - 1 : rows]
    return whole


def is_cut(lengths: Lengths, members: Sequence[Member], length: int) -> bool:
    """Whether some answer is shorter than the batch."""
    return any(lengths.cuts) and any(member.length != length for member in members)


def cut(
    signature: Signature, arrays: Sequence[Array], members: Sequence[Member], sizes: tuple[int, int]
) -> list[list[Array]]:
    """Return each member's rows of the outputs, cut to its length: views. ``sizes`` are the batch's rows and length.

    Raises:
        SplitError: as by ``require_rows``, or an output that is to be cut has not the length of the batch.
    """
    lengths = signature.lengths
    assert lengths is not None, "the signature knows what varies"
    rows, length = sizes
    require_rows(signature, arrays, rows)
    for spec, array, axis in zip(signature.outputs, arrays, lengths.cuts, strict=True):
        if axis and array.shape[axis : axis + 1] != (length,):
            raise SplitError(f"output '{spec.name}' of shape {list(array.shape)} has no length {length} on axis {axis}")
    members_views = []
    start = 0
    for member in members:
        place = slice(start, start + member.rows)
        members_views.append(
            [
                array[(place, *(slice(None),) * (axis - 1), slice(member.length))] if axis else array[place]
                for array, axis in zip(arrays, lengths.cuts, strict=True)
            ]
        )
        start += member.rows
    return members_views
