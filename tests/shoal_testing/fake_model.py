"""A loaded model whose answers can be traced back: to the row, to the request and to the very load that computed them.

Rows of the input ``x`` (INT64, [-1, -1]) become rows of ``y``: ``x * SERIALS + serial``, where each load has a serial
number of its own. ``decoded`` takes an answer apart again. The text model does the same with strings.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Final

import numpy as np

from shoal_server.errors import ExecutionFailed
from shoal_server.lifecycle.ports import FileDigest, RunControl, Tuning
from shoal_server.options import LengthOptions
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import NOT_FOUND_OUT
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_testing.virtual_threads import FOR_EVER, VirtualThreads

SERIALS: Final = 1 << 16
PAD: Final = -1  # never part of an answer


class Kind(Enum):
    """What sort of model it is."""

    ROWS = auto()  # rows are independent
    OPTIONAL = auto()  # takes an optional input besides, which is added
    TEXT = auto()  # BYTES in, BYTES out
    WHOLE = auto()  # not batched: what comes in first is no count of rows
    MIXING = auto()  # claims to be batched; one row too many comes out
    LYING = auto()  # the element type is not the declared one
    LENGTHS = auto()  # rows are independent, and their length varies


class Poison(Enum):
    """What a row with a certain number in its first column does to the run that it is in."""

    REFUSED = auto()  # the runtime refuses the whole batch
    CRASH = auto()  # an exception of an unknown kind
    HANG = auto()  # never returns, unless it obeys an interrupt
    SLOW = auto()  # takes very long


def signature(kind: Kind, edges: tuple[int, ...] = (), max_length: int = 0) -> Signature:
    """Return the signature of that kind of model; edges and the longest are of ``Kind.LENGTHS``."""
    if kind is Kind.TEXT:
        text = DataType.BYTES
        return Signature((TensorSpec("x", text, ("", "")),), (TensorSpec("y", text, ("", "")),), batched=True)
    number = DataType.INT64
    inputs = [TensorSpec("x", number, ("", ""))]
    if kind is Kind.OPTIONAL:
        inputs.append(TensorSpec("bias", number, (1,), optional=True))
    lengths = Lengths((Column("x", 1, PAD, None),), (1,), max_length, edges) if kind is Kind.LENGTHS else None
    return Signature(tuple(inputs), (TensorSpec("y", number, ("", "")),), kind is not Kind.WHOLE, lengths)


def number_of(value: object) -> int:
    """Return the number in a cell of an input, which names the request and its row."""
    return int(value.split("|")[0]) if isinstance(value, str) else int(value)  # type: ignore[call-overload]


def decoded(kind: Kind, cell: object) -> tuple[object, int]:
    """Return the input cell that an output cell was made from, and the serial number of the load that made it."""
    if kind is Kind.TEXT:
        text, serial = str(cell).rsplit("@", 1)
        return text, int(serial)
    return divmod(int(cell), SERIALS)  # type: ignore[call-overload,no-any-return]


@dataclass
class Speed:
    """What a run takes on virtual time."""

    run_s: float = 0.001
    row_s: float = 0.0
    jitter: Iterator[float] = field(default_factory=lambda: iter(lambda: 1.0, None))

    def of(self, rows: int) -> float:
        return (self.run_s + self.row_s * rows) * next(self.jitter)


class FakeModel:
    """A ``LoadedModel``. ``script`` is called before each run, with its number from 0, and may raise or pause."""

    _serials = count(1)

    def __init__(  # noqa: PLR0913 - a test names those that it is about
        self,
        kind: Kind = Kind.ROWS,
        *,
        threads: VirtualThreads | None = None,
        speed: Speed | None = None,
        poisons: Mapping[int, Poison] | None = None,
        slow_s: float = 1.0,
        obeys: bool = True,
        instances: int = 100,
        timings: Sequence[tuple[int, float]] = (),
        lengths: LengthOptions | None = None,
        script: Callable[[int], None] = lambda _run: None,
    ) -> None:
        self.kind = kind
        self.serial = next(self._serials) % SERIALS
        self.signature = signature(kind, lengths.edges, lengths.max_length) if lengths else signature(kind)
        self.batching_reason = "a fake"
        self.steady = True
        self.invariance = NOT_FOUND_OUT
        self.tuning = Tuning(instances, 1)
        self.tuning_reason = "a fake"
        self.files: tuple[FileDigest, ...] = (FileDigest("model.onnx", f"{self.serial:064x}", 100),)
        self.timings = timings
        self.current = True
        self.closed = False
        self.violations: list[str] = []
        self.under_way = 0
        self.runs: list[list[int]] = []
        """The numbers in the first column of each run's rows, padding included."""
        self.cells: list[int] = []
        """Elements of the input of each run."""
        self._threads = threads
        self._speed = speed or Speed(run_s=0.0)
        self._poisons = poisons or {}
        self._slow_s = slow_s
        self.obeys = obeys
        self._script = script

    @property
    def seen(self) -> set[int]:
        """The numbers in the first column of all rows that were ever computed."""
        return {number for run in self.runs for number in run}

    def run(self, inputs: Sequence[Array | None], control: RunControl | None) -> Sequence[Array]:
        if self.closed:
            self.violations.append("run after close")
        interrupt = _Interrupt(self._threads)
        if self.obeys and control is not None:
            control.on_stop(interrupt)
        self.under_way += 1
        try:
            return self._run(inputs, interrupt)
        finally:
            self.under_way -= 1

    def _run(self, inputs: Sequence[Array | None], interrupt: "_Interrupt") -> Sequence[Array]:
        number = len(self.runs)
        x = inputs[0]
        assert x is not None
        first = [number_of(row[0]) for row in x] if x.shape[1] else []
        self.runs.append(first)
        self.cells.append(x.size)
        self._script(number)
        poisons = {self._poisons[row] for row in first if row in self._poisons}
        pause_s = self._speed.of(x.size if self.kind is Kind.LENGTHS else len(x))
        if Poison.HANG in poisons:
            pause_s = FOR_EVER
        elif Poison.SLOW in poisons:
            pause_s = self._slow_s
        woken = self._threads is not None and pause_s > 0 and not interrupt.asked and self._threads.pause(pause_s)
        if woken or interrupt.asked:
            raise ExecutionFailed("interrupted")
        if Poison.REFUSED in poisons:
            raise ExecutionFailed("poisoned", caller_at_fault=True)
        if Poison.CRASH in poisons:
            raise RuntimeError("crashed")
        return [self._compute(x, inputs[1] if len(inputs) > 1 else None)]

    def is_current(self) -> bool:
        return self.current

    def close(self) -> None:
        if self.closed:
            self.violations.append("closed twice")
        self.closed = True

    def _compute(self, x: Array, bias: Array | None) -> Array:
        if self.kind is Kind.TEXT:
            y = np.empty(x.shape, object)
            y[...] = [[f"{cell}@{self.serial}" for cell in row] for row in x] if x.size else y
            return y
        if bias is not None:
            x = x + bias
        y = x * SERIALS + self.serial
        if self.kind is Kind.MIXING:
            return np.concatenate([y, np.zeros((1, x.shape[1]), x.dtype)])
        return y.astype(np.float32) if self.kind is Kind.LYING else y


class _Interrupt:
    """Wakes the thread that computes."""

    def __init__(self, threads: VirtualThreads | None) -> None:
        self.asked = False
        self._thread = threads.current() if threads is not None else None

    def __call__(self) -> None:
        self.asked = True
        if self._thread is not None:
            self._thread.wake()
