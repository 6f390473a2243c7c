"""The weights of a large model in pages of 2 MiB: quicker to read, and quick to free."""

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

_LARGE_BYTES: Final = 8 << 20
_PAGE_BYTES: Final = 4096  # where pages are larger, huge ones are of another size too
_HUGE_BYTES: Final = 2 << 20
_PAGES: Final = _HUGE_BYTES // _PAGE_BYTES
_DENSE: Final = _PAGES * 7 // 8  # pages in use, from which a huge one is worth what it adds
_AT_ONCE_BYTES: Final = 4 * _HUGE_BYTES

# What Linux calls them in mman.h.
_MADV_DONTNEED: Final = 4
_MADV_HUGEPAGE: Final = 14
_MADV_POPULATE_WRITE: Final = 23  # since 5.14
_MADV_COLLAPSE: Final = 25  # since 6.1

_MAPS: Final = Path("/proc/self/maps")

Span = tuple[int, int]
"""Addresses: the first, and the first behind it."""


def gather(loaded_bytes: int) -> None:
    """Have the system gather what the process has in small pages into huge ones, if a large model was loaded.

    Measured with a model of 400 MB, a hundred thousand pages, on a virtual machine: a run of one row takes 17 ms in
    place of 24 afterwards, and to free its session, for which the interpreter's lock is held, 2 to 3 ms in place of 25
    to 45. To gather them takes 0.1 s, 0.8 s where the system has to make huge pages first, without the lock. Only what
    is in use already is gathered, so nothing becomes larger. Does nothing where the system cannot do this.
    """
    if loaded_bytes < _LARGE_BYTES or sys.platform != "linux" or mmap.PAGESIZE != _PAGE_BYTES:
        return
    libc = ctypes.CDLL(None)
    stock = _Stock(libc)
    for area in huge_areas(_MAPS.read_text()):
        start, end = area
        used = np.zeros((end - start) // _PAGE_BYTES, np.uint8)
        if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(end - start), used.ctypes.data_as(ctypes.c_void_p)):
            continue  # it is gone by now
        for first, behind in dense_spans(start, (used & 1).reshape(-1, _PAGES).sum(axis=1).tolist()):
            for some in range(first, behind, _AT_ONCE_BYTES):
                size_bytes = min(_AT_ONCE_BYTES, behind - some)
                stock.lay_in(size_bytes)
                # Whatever this address has become since, gathering changes nothing of what it holds.
                libc.madvise(ctypes.c_void_p(some), ctypes.c_size_t(size_bytes), _MADV_COLLAPSE)


class _Stock:
    """Has the system lay in huge pages that it has written to, just before it gathers others into them.

    A huge page that nobody has used yet is slow to write to where the machine is virtual, as its host has to find the
    memory: 3 to 5 ms, for which gathering keeps a processor and what maps memory of the process. When it is laid in, by
    a fault, whoever else is to run goes first.
    """

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._advise: Callable[..., Any] = libc.madvise
        self._area = mmap.mmap(-1, _AT_ONCE_BYTES + _HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._area))
        self._start = ctypes.c_void_p(-(-address // _HUGE_BYTES) * _HUGE_BYTES)
        self._advise(self._start, ctypes.c_size_t(_AT_ONCE_BYTES), _MADV_HUGEPAGE)

    def lay_in(self, size_bytes: int) -> None:
        """Have so many bytes of huge pages ready; a system that has none left does without."""
        for advice in (_MADV_POPULATE_WRITE, _MADV_DONTNEED):
            self._advise(self._start, ctypes.c_size_t(size_bytes), advice)


def huge_areas(maps: str) -> Iterator[Span]:
    """Yield what there is of whole huge pages in private memory without a file, as ``/proc/self/maps`` tells it."""
    for line in maps.splitlines():
        addresses, permissions, _offset, _device, *rest = line.split()
        if permissions != "rw-p" or rest != ["0"]:
            continue
        low, high = (int(address, 16) for address in addresses.split("-"))
        start, end = -(-low // _HUGE_BYTES) * _HUGE_BYTES, high // _HUGE_BYTES * _HUGE_BYTES
        if start < end:
            yield start, end


def dense_spans(start: int, used_pages: Sequence[int]) -> Iterator[Span]:
    """Yield the longest spans of huge pages that are nearly all in use; ``used_pages`` says how much of each is."""
    first: int | None = None
    for number, used in enumerate((*used_pages, 0)):
        if used >= _DENSE:
            first = number if first is None else first
        elif first is not None:
            yield start + first * _HUGE_BYTES, start + number * _HUGE_BYTES
            first = None
