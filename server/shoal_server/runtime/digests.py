"""What a version's files hold, in a few characters."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.ports import FileDigest
from shoal_server.runtime.model_files import unread
from shoal_server.runtime.pieces import Pieces
from shoal_server.runtime.wire_fields import fields

# onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.external_data, a list of StringStringEntryProto.
_GRAPH: Final = 7
_INITIALIZER: Final = 5
_EXTERNAL_DATA: Final = 13
_KEY: Final = 1
_VALUE: Final = 2
_MOST_FILES: Final = 1000
_SMALL_BYTES: Final = 64 << 10


def digests(path: Path, *, alone: bool) -> tuple[FileDigest, ...]:
    """Return the SHA-256 of a model file, and of the files that it says its weights are in.

    ``alone`` says that there is no other file, so that it need not be asked.

    Raises:
        LoadFailed: one of them cannot be read.
    """
    names = [] if alone else sorted(set(_external(path)))[:_MOST_FILES]
    beside = [path.parent / name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    return tuple(_digest(path, file) for file in (path, *(file for file in beside if file.is_file())))


def _digest(model: Path, file: Path) -> FileDigest:
    try:
        with file.open("rb", buffering=0) as opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            # Read and hashed in pieces of 256 KiB, without the interpreter's lock; to set one out takes 0.1 ms.
            small = size_bytes <= _SMALL_BYTES
            sha256 = hashlib.sha256(opened.read()) if small else hashlib.file_digest(opened, "sha256")
            return FileDigest(os.path.relpath(file, model.parent), sha256.hexdigest(), size_bytes)
    except OSError as error:
        raise LoadFailed(f"{file.name} cannot be read: {unread(error)}") from error


def _external(path: Path) -> Iterator[str]:
    """Yield the names of files that the model's weights are in."""
    try:
        with path.open("rb", buffering=0) as file:
            pieces = Pieces(file)
            for graph in fields(pieces, 0, os.fstat(file.fileno()).st_size):
                if graph.number != _GRAPH:
                    continue
                for tensor in fields(pieces, graph.value, graph.end):
                    if tensor.number == _INITIALIZER:
                        yield from _locations(pieces, tensor.value, tensor.end)
    except (OSError, ValueError):  # no ONNX message: it has no files that we know of
        return


def _locations(pieces: Pieces, start: int, end: int) -> Iterator[str]:
    for entry in fields(pieces, start, end):
        if entry.number == _EXTERNAL_DATA:
            inside = fields(pieces, entry.value, entry.end)
            parts = {part.number: pieces.between(part.value, part.end) for part in inside}
            if parts.get(_KEY) == b"location":
                yield os.fsdecode(parts.get(_VALUE, b""))
