"""The files that one version is made of, and whether they changed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_server.errors import LoadFailed

_MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a version's files looked like: a change of any of them, in place or by renaming, makes another snapshot."""

    files: frozenset[tuple[str, int, int, int]]

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(size_bytes for _, size_bytes, _, _ in self.files)


def snapshot(path: Path, version: int) -> Snapshot:
    """Look at the model file and at what belongs to it.

    That is the whole folder of the version where there is one; a file that is served by itself has neighbours that are
    none of ours, so of these only those count whose names begin with its own stem, as its external data's do.
    """
    return Snapshot(frozenset(_look(path, version)))


def _look(path: Path, version: int) -> Iterator[tuple[str, int, int, int]]:
    # The model file may lie in a folder of its name: 1/model.onnx/model.onnx.
    folder = next((parent for parent in (path.parent, path.parent.parent) if parent.name == str(version)), None)
    related: Iterator[str]
    if folder is None:
        related = (entry.path for entry in _entries(path.parent) if entry.name.startswith(path.stem))
    else:
        related = _below(folder)
    for _, name in zip(range(_MOST_FILES), related, strict=False):
        try:
            status = os.stat(name)  # noqa: PTH116 - as above
        except OSError:
            continue
        yield name, status.st_size, status.st_mtime_ns, status.st_ino


def _below(folder: Path) -> Iterator[str]:
    """Yield every file below a folder, but in hidden folders, such as that where the server keeps its own state."""
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            yield os.path.join(top, name)  # noqa: PTH118 - a path per file is what a thousand models would wait for


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def require_readable(path: Path) -> None:
    """Check what ONNX Runtime would describe less well.

    Raises:
        LoadFailed: the model file is missing, not a file, empty or not to be read.
    """
    if path.is_dir():
        raise LoadFailed("it is a folder, not a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise LoadFailed("it is empty")
    except OSError as error:
        raise LoadFailed(f"it cannot be read: {unread(error)}") from error


def unread(error: OSError) -> str:
    """Return why a file could not be read, without its path."""
    return (error.strerror or "the system does not say why").lower()
