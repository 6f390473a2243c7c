"""Whether padding changes an answer: found out by doing it, with a mask as the server makes it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from shoal_server.errors import ExecutionFailed
from shoal_server.options import Generate
from shoal_server.runtime.likeness import unlike
from shoal_server.runtime.made_up import Execute, Profile, Recipe, symbol_of
from shoal_server.tensors.batch import Array, SplitError
from shoal_server.tensors.padding import Member, assemble_padded, cut
from shoal_server.tensors.spec import Signature
from shoal_server.tensors.value import Value

_PAIRS: Final = ((8, 5), (16, 8), (64, 24), (2, 1))
"""A longer and a shorter length; those pairs are left out that the model does not run at, or its owner excludes."""

_PROFILES: Final = (Profile.ORDINARY, Profile.LARGE)


class PaddingProbe:
    """Runs requests of two lengths alone, and together with the shorter one filled up."""

    def __init__(self, execute: Execute, signature: Signature) -> None:
        """``signature`` has the lengths as declared."""
        assert signature.lengths is not None, "the signature knows what varies"
        self._execute = execute
        self._signature = signature
        self._longest = signature.lengths.max_length
        self._random = np.random.default_rng(0)

    def find(self, recipe: Recipe) -> str:
        """Return why padding is not safe, empty where nothing speaks against it; the recipe runs with one row."""
        found = "made-up rows of no two lengths ran"
        tried = 0
        for longer, shorter in _PAIRS:
            if self._longest and longer > self._longest:
                continue
            for profile in _PROFILES:
                try:
                    lengths = (longer, shorter, shorter)
                    members = [self._drawn(recipe, profile, length) for length in lengths]
                    alone = [self._execute(arrays) for arrays in members]
                except ExecutionFailed as error:
                    found = f"made-up rows of no two lengths ran: {error}" if not tried else found
                    continue
                tried += 1
                difference = self._differ(lengths, members, alone)
                if difference:
                    return difference
        return "" if tried else found

    def _drawn(self, recipe: Recipe, profile: Profile, length: int) -> list[Array | None]:
        return of_length(recipe, self._signature, length).draw(self._random, profile, 1)

    def _differ(
        self, lengths: Sequence[int], members: Sequence[Sequence[Array | None]], alone: Sequence[Sequence[Array]]
    ) -> str:
        signature = self._signature
        requests = [
            Member([_value(array) for array in arrays], 1, length)
            for arrays, length in zip(members, lengths, strict=True)
        ]
        length = max(lengths)
        among = f"among rows padded to length {length}"
        try:
            together = self._execute(assemble_padded(signature, requests, length))
            parts = cut(signature, together, requests, (len(requests), length))
        except (ExecutionFailed, SplitError) as error:
            return f"rows of lengths {lengths} run alone and not padded: {error}"
        for one_length, wanted, got in zip(lengths, alone, parts, strict=True):
            for spec, first, second in zip(signature.outputs, wanted, got, strict=True):
                if first.shape != second.shape:
                    shapes = f"{list(first.shape[1:])} alone, {list(second.shape[1:])}"
                    return f"a row of length {one_length} of output '{spec.name}' has shape {shapes} {among}"
                difference = unlike(spec.datatype, first, second)
                if difference is not None:
                    return f"in output '{spec.name}' of a row of length {one_length}, {difference} {among}"
        return ""


def of_length(recipe: Recipe, signature: Signature, length: int) -> Recipe:
    """Return a recipe whose rows have that length, whose masks hide nothing and whose lengths are right."""
    lengths = signature.lengths
    assert lengths is not None, "the signature knows what varies"
    sizes, constants = dict(recipe.sizes), dict(recipe.constants)
    for index, (spec, column) in enumerate(zip(signature.inputs, lengths.columns, strict=True)):
        if column is None:
            continue
        dim = (spec.dims or ())[column.axis]
        if column.axis and isinstance(dim, str):
            sizes[symbol_of(index, column.axis, dim)] = length
        if column.generate is not None:
            constants[index] = 1 if column.generate is Generate.MASK else length
    return replace(recipe, sizes=sizes, constants=constants)


def _value(array: Array | None) -> Value | None:
    if array is None:
        return None
    return Value(array.shape, array.ravel().tolist() if array.dtype == object else array.tobytes())
