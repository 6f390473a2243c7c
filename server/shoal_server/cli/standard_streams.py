"""Standard output and error whose reader may leave: `shoal models --json | head -1` is no failure."""

import io
import sys
from typing import Any, Final, TextIO

from shoal_server.cli.failure import Failure

_STDOUT: Final = 1
_STDERR: Final = 2


class _Pipe(io.FileIO):
    """A descriptor to write to; once nobody reads it any more, what is written is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.abandoned = False

    def write(self, data: bytes) -> int:  # type: ignore[override] # the stubs name the parameter by two underscores
        """Write, or pretend to; returns how many bytes are dealt with.

        Raises:
            Failure: it cannot be written to (a full disk), the first time.
        """
        if self.abandoned:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self.abandoned = True
            return len(data)
        except OSError as error:
            self.abandoned = True
            raise Failure(f"the output cannot be written: {error.strerror}") from error


def outlive_readers() -> None:
    """Replace the process's standard output and error by ones that a reader may leave at any time.

    What a command does (a swap, above all) is then done and told by its exit code all the same.
    """
    sys.stdout = _replaced(sys.stdout, _STDOUT)
    sys.stderr = _replaced(sys.stderr, _STDERR)


def output_abandoned() -> bool:
    """Return whether somebody read standard output and has left, as far as writing has told."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Pipe) and raw.abandoned


def _replaced(stream: TextIO | None, descriptor: int) -> Any:  # noqa: ANN401 - sys.stdout may be None, its stub says not
    if stream is None:  # it was closed before the process began
        return None
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(descriptor)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=descriptor == _STDERR or stream.isatty(),
    )
