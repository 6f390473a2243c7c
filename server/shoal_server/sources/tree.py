"""A folder that nothing leads out of: what is read for a model is read through here."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from shoal_server.errors import LoadFailed


def because(error: OSError | ValueError) -> str:
    """Return the system's reason in lower case, without the path, which the sentence around it names already."""
    reason = error.strerror if isinstance(error, OSError) else None
    return (reason or str(error) or type(error).__name__).lower()


class Tree:
    """One folder as it is now, symbolic links resolved once; every complaint names files relative to it.

    ``root`` is absolute, and may itself be a symbolic link. ``label`` stands before the relative names, for a root that
    is one model's folder.
    """

    def __init__(self, root: Path, label: str = "") -> None:
        assert root.is_absolute(), root
        self.root = root
        self._real_root = root.resolve()
        self._label = label

    def name(self, path: Path) -> str:
        """Return how to call a file to the operator."""
        parts = self._parts(path)
        return "/".join([self._label, *parts] if self._label else parts)

    def names(self, folder: Path) -> list[str]:
        """Return what a folder holds, sorted.

        Raises:
            LoadFailed: it is no folder or cannot be read.
        """
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is wanted, a thousand times
        except NotADirectoryError as error:
            raise LoadFailed(f"{self.name(folder)} is not a folder") from error
        except OSError as error:
            raise LoadFailed(f"{self.name(folder)} cannot be read: {because(error)}") from error

    def is_folder(self, path: Path) -> bool:
        """Whether a path is known to be a folder."""
        try:
            return stat.S_ISDIR(path.stat().st_mode)
        except OSError:
            return False

    def require_inside(self, path: Path) -> None:
        """Check that no symbolic link on the way to ``path`` leads out of the folder.

        Raises:
            LoadFailed: one does; or it goes in circles.
        """
        if not any(map(os.path.islink, self._steps(path))):
            return
        try:
            real = path.resolve()
        except (OSError, RuntimeError) as error:
            raise LoadFailed(f"{self.name(path)} cannot be followed: its symbolic links go in circles") from error
        if not real.is_relative_to(self._real_root):
            raise LoadFailed(f"{self.name(path)} leads out of the model repository")

    def require_file(self, path: Path) -> int:
        """Check that ``path`` is a regular file inside; return its size in bytes.

        Raises:
            LoadFailed: it is not; the text says what it is.
        """
        self.require_inside(path)
        try:
            info = path.stat()
        except OSError as error:
            raise LoadFailed(f"{self.name(path)} cannot be read: {because(error)}") from error
        if stat.S_ISDIR(info.st_mode):
            raise LoadFailed(f"{self.name(path)} is a folder, wanted a file")
        if not stat.S_ISREG(info.st_mode):
            # Opening a pipe would wait for its writer.
            raise LoadFailed(f"{self.name(path)} is not a regular file")
        return info.st_size

    def read_text(self, path: Path, limit_bytes: int) -> str:
        """Return what a text file holds.

        Raises:
            LoadFailed: it is no regular file inside, is larger than ``limit_bytes``, cannot be read, or is not UTF-8.
        """
        size_bytes = self.require_file(path)
        if size_bytes > limit_bytes:
            raise LoadFailed(f"{self.name(path)} has {size_bytes} bytes, wanted at most {limit_bytes}")
        try:
            return path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise LoadFailed(f"{self.name(path)} cannot be read: {because(error)}") from error
        except UnicodeDecodeError as error:
            raise LoadFailed(f"{self.name(path)} is not UTF-8 text: {error.reason} at byte {error.start}") from error

    def _parts(self, path: Path) -> list[str]:
        # Slices of text, not Path.relative_to: this runs a few times for each of a thousand models.
        below = os.fspath(path)[len(os.fspath(self.root)) :].strip(os.sep)
        return below.split(os.sep) if below else []  # noqa: PTH206

    def _steps(self, path: Path) -> Iterator[str]:
        """Yield every path on the way from the folder, which is not among them, to ``path``, which is."""
        step = os.fspath(self.root)
        for part in self._parts(path):
            step = f"{step}{os.sep}{part}"
            yield step
