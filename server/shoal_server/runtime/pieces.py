"""A file, read in the places where it is asked for."""

from io import RawIOBase
from typing import Final

_PIECE_BYTES: Final = 1 << 12


class Pieces:
    """A file's bytes, read where they are asked for.

    Not mapped into memory, where a file that somebody cuts off in the meantime ends the process.
    """

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self._piece = b""
        self._start = 0

    def __getitem__(self, position: int, /) -> int:
        if not self._start <= position < self._start + len(self._piece):
            self._piece = self.between(position, position + _PIECE_BYTES)
            self._start = position
            if not self._piece:
                raise ValueError("a file that has become shorter")
        return self._piece[position - self._start]

    def between(self, start: int, end: int) -> bytes:
        """Return what lies between two positions, or as much of it as there is."""
        if self._start <= start and end <= self._start + len(self._piece):
            return self._piece[start - self._start : end - self._start]
        self._file.seek(start)
        return self._file.read(end - start) or b""
