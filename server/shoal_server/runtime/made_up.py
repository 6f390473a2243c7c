"""Inputs that nobody sent: made up to find out about a model and to warm it up. Deterministic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain, islice, product
from math import prod
from typing import Final, NamedTuple

import numpy as np

from shoal_server.errors import ExecutionFailed
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec
from shoal_server.tensors.value import Shape


class _Range(NamedTuple):
    """How large elements are.

    Floats are normally distributed with that ``scale`` where ``sign`` is 0; else they have that sign and are at least
    ``scale`` large. Whole numbers go from ``low`` to below ``high``; ``true_share`` of the booleans are true.
    """

    scale: float
    sign: int
    low: int
    high: int
    true_share: float


class Profile(Enum):
    """What the elements are like. ``ORDINARY`` is what most models take: 0 and 1, say, are ids in every vocabulary."""

    ORDINARY = _Range(1.0, 0, 0, 2, 0.5)
    NEGATIVE = _Range(3.0, -1, -2, 0, 0.0)
    POSITIVE = _Range(3.0, 1, 0, 4, 1.0)
    SMALL = _Range(1e-2, 0, 0, 2, 0.5)
    LARGE = _Range(1e4, 0, 0, 100, 0.5)
    LOW = _Range(1e4, -1, -2, 0, 0.0)
    HIGH = _Range(1e4, 1, 50, 100, 1.0)
    ZERO = _Range(0.0, 0, 0, 1, 0.0)


WORDS: Final = ("", "a", "yes", "Zürich", "the quick brown fox", "漢字 \N{GRINNING FACE}")
NUMERALS: Final = ("0", "1", "2", "-3", "4.5")

_SIZES: Final = tuple(dict.fromkeys((8, 16, 32, 64, 224, *range(1, 31), 128, 256, 512, 784, 1024)))
_MIXED_SIZES: Final = (8, 3, 1, 32, 64, 224)
_MOST_ATTEMPTS: Final = 120
_MOST_ELEMENTS: Final = 1 << 21  # of one row of an input
_HALF_ITEMSIZE: Final = 2
_HALF_SCALE: Final = 100.0  # beyond this, products leave the range of 16-bit floats

Symbol = str | tuple[int, int]
"""A dimension of any size: its name, or where it has none, the numbers of its input and axis."""

Execute = Callable[[Sequence[Array | None]], Sequence[Array]]
"""Runs the model; raises ExecutionFailed."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Inputs of one kind: ``sizes`` for the dimensions of any size, ``texts`` for strings.

    ``row_symbols`` are the dimensions that count rows; empty where none does. ``narrow`` are the inputs, by number,
    that take no integers but ordinary ones: ids of a small vocabulary, say. ``constants`` are the inputs, by number,
    of which every element has one value, whatever the profile.
    """

    inputs: Sequence[TensorSpec]
    row_symbols: frozenset[Symbol]
    sizes: Mapping[Symbol, int]
    texts: Sequence[str]
    narrow: frozenset[int] = frozenset()
    constants: Mapping[int, int] = field(default_factory=dict)

    def draw(self, random: np.random.Generator, profile: Profile, rows: int) -> list[Array | None]:
        """Return one array per input; None for those that may be left out."""
        return [
            None
            if spec.optional
            else np.full(self._shape(index, spec, rows), self.constants[index], spec.datatype.dtype)
            if index in self.constants
            else self._array(random, self._range(index, profile), spec, self._shape(index, spec, rows))
            for index, spec in enumerate(self.inputs)
        ]

    def narrowed(self, execute: Execute) -> "Recipe":
        """Return the recipe with those inputs ``narrow`` that need to be, found out one by one."""
        narrow = set()
        for index, spec in enumerate(self.inputs):
            if spec.optional or spec.datatype.dtype.kind not in "iu" or spec.datatype is DataType.BF16:
                continue
            arrays = self.draw(np.random.default_rng(0), Profile.ORDINARY, 1)
            arrays[index] = self.draw(np.random.default_rng(0), Profile.LARGE, 1)[index]
            try:
                execute(arrays)
            except ExecutionFailed:
                narrow.add(index)
        return replace(self, narrow=frozenset(narrow))

    def largest_row_elements(self) -> int:
        """Return the number of elements in one row of the largest input."""
        required = [(index, spec) for index, spec in enumerate(self.inputs) if not spec.optional]
        return max((prod(self._shape(index, spec, 1)) for index, spec in required), default=0)

    def _range(self, index: int, profile: Profile) -> _Range:
        usual = index in self.narrow and profile is not Profile.ZERO
        return Profile.ORDINARY.value if usual else profile.value

    def _shape(self, index: int, spec: TensorSpec, rows: int) -> Shape:
        return tuple(self._size(index, axis, dim, rows) for axis, dim in enumerate(spec.dims or ()))

    def _size(self, index: int, axis: int, dim: int | str, rows: int) -> int:
        if isinstance(dim, int):
            return dim
        symbol = symbol_of(index, axis, dim)
        if symbol in self.row_symbols:
            return rows
        return self.sizes[symbol] if symbol in self.sizes else sum(_term(term, self.sizes) for term in _terms(dim))

    def _array(self, random: np.random.Generator, wanted: _Range, spec: TensorSpec, shape: Shape) -> Array:
        dtype = spec.datatype.dtype
        if spec.datatype is DataType.BYTES:
            texts = np.array(self.texts if wanted.scale else [""], object)
            return np.asarray(texts[random.integers(0, len(texts), shape)], object)
        if spec.datatype is DataType.BOOL:
            return np.asarray(random.random(shape) < wanted.true_share)
        if spec.datatype is DataType.BF16:
            # The upper half of a 32-bit float.
            return (_floats(random, wanted, shape, dtype.itemsize).view(np.uint32) >> 16).astype(dtype)
        if dtype.kind == "f":
            return _floats(random, wanted, shape, dtype.itemsize).astype(dtype)
        low = wanted.low if dtype.kind == "i" else max(wanted.low, 0)
        return np.asarray(random.integers(low, max(wanted.high, low + 1), shape, dtype))


def _floats(random: np.random.Generator, wanted: _Range, shape: Shape, itemsize: int) -> Array:
    values = np.asarray(random.standard_normal(shape, np.float32))
    scale = min(wanted.scale, _HALF_SCALE) if itemsize == _HALF_ITEMSIZE else wanted.scale
    return np.asarray((wanted.sign * (1 + np.abs(values)) if wanted.sign else values) * scale, np.float32)


def symbol_of(index: int, axis: int, dim: str) -> Symbol:
    """Return what tells whether a dimension has the same size as another."""
    return dim or (index, axis)


def find_recipe(
    inputs: Sequence[TensorSpec],
    row_symbols: frozenset[Symbol],
    vocabularies: Sequence[Sequence[str]],
    execute: Execute,
) -> Recipe | str:
    """Return what the model runs on, with one row, or why it did not run on the first that was tried.

    ``vocabularies`` are lists of strings that the model may insist on.
    """
    # Texts, as an exception that is kept would keep its traceback, and with that the session.
    first = ""
    takes_text = any(spec.datatype is DataType.BYTES for spec in inputs)
    every_text = (*chain.from_iterable(vocabularies), *WORDS)
    for texts in (every_text, *vocabularies, NUMERALS) if takes_text else ((),):
        for sizes in islice(_candidates(inputs, row_symbols), _MOST_ATTEMPTS):
            recipe = Recipe(inputs, row_symbols, sizes, texts)
            if recipe.largest_row_elements() > _MOST_ELEMENTS and sizes:
                continue
            try:
                execute(recipe.draw(np.random.default_rng(0), Profile.ORDINARY, 1))
            except ExecutionFailed as error:
                first = first or str(error)
            else:
                return recipe
    return first or "its inputs are too large"


def _candidates(inputs: Sequence[TensorSpec], row_symbols: frozenset[Symbol]) -> Iterator[Mapping[Symbol, int]]:
    """Yield sizes for every symbol: first the same for all, then mixed."""
    places = [
        (symbol_of(index, axis, dim), dim)
        for index, spec in enumerate(inputs)
        if not spec.optional
        for axis, dim in enumerate(spec.dims or ())
        if isinstance(dim, str)
    ]
    free = dict.fromkeys((symbol, dim) for symbol, dim in places if symbol not in row_symbols)
    symbols = [symbol for symbol, dim in free if not _is_sum(dim, {symbol for symbol, _ in free})]
    if not symbols:
        yield {}
        return
    for size in _SIZES:
        yield dict.fromkeys(symbols, size)
    if len(symbols) > 1:
        for sizes in product(_MIXED_SIZES, repeat=len(symbols)):
            yield dict(zip(symbols, sizes, strict=True))


def _is_sum(dim: str, named: AbstractSet[Symbol]) -> bool:
    """Whether a dimension's name says that it is the sum of others, as exporters of decoders write it."""
    terms = _terms(dim)
    return len(terms) > 1 and all(term in named or term.isdecimal() for term in terms)


def _terms(dim: str) -> list[str]:
    return [term.strip() for term in dim.split("+")]


def _term(term: str, sizes: Mapping[Symbol, int]) -> int:
    return sizes[term] if term in sizes else int(term)
