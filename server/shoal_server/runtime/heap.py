"""How the C library keeps the memory of models: in blocks of their own, which go back when they are freed."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_LARGE_BYTES: Final = 8 << 20

# What the C library calls them in malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_MMAP_MAX: Final = -4

_WEIGHT_BYTES: Final = 256 << 10
_TENSOR_BYTES: Final = 32 << 20
_TRIM_BYTES: Final = 64 << 20
_MOST_BLOCKS: Final = 1 << 14  # the system allows a process 65,530 mappings in all, stacks and libraries included


class Heap:
    """Has weights put into blocks of their own while anything loads. One for the process; from any thread.

    The C library begins like that, and gives it up when the first large block is freed: from then on weights of up to
    32 MiB lie between whatever else the loading thread allocated, and what is freed of them stays resident until
    somebody trims, in part for good. Measured with a model of 400 MB: 886 MB resident while it is loaded and 93 to 110
    MB once it is freed and trimmed; in blocks of their own 463 MB and 59 MB, without a trim. A block takes page faults
    whenever it is allocated, so the tensors of runs are left where they are: the limits beside loads are those that the
    C library comes to by itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = 0
        self._set: Callable[[int, int], int] | None = _function("mallopt")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Say that a model loads for as long as the context lasts."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        if self._set is None:
            return
        with self._lock:
            self._loads += more
            self._set(_M_MMAP_MAX, _MOST_BLOCKS)
            self._set(_M_TRIM_THRESHOLD, _TRIM_BYTES)
            self._set(_M_MMAP_THRESHOLD, _WEIGHT_BYTES if self._loads else _TENSOR_BYTES)


def give_back(freed_bytes: int) -> None:
    """Return freed memory to the system if it may be much: what a run or a parser left behind between other blocks.

    It takes some 0.1 ms, without the interpreter's lock. After small models it is left out, as the next one reuses what
    they leave.
    """
    if freed_bytes >= _LARGE_BYTES:
        trim = _function("malloc_trim")
        if trim is not None:
            trim(0)


def _function(name: str) -> Callable[..., Any] | None:
    """Return a function of the C library; None where it has none of that name, as only glibc has these."""
    found: Callable[..., Any] | None = getattr(ctypes.CDLL(None), name, None)
    return found
