"""Signs that a model file is not, or not yet, what it is to be: a copy under way, a file cut off."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

# What the usual tools call a file while they write it: editors, browsers and downloads, WinSCP, gsutil, MinIO, the
# Hugging Face hub, rsync's folders.
_ENDINGS: Final = (
    *("~", "_.gstmp", ".~tmp~", ".rsync-partial", ".part.minio", ".tmp", ".temp", ".part", ".partial", ".filepart"),
    *(".crdownload", ".download", ".incomplete"),
)
# rsync (".model.onnx.aB3xY9") and the AWS tools ("model.onnx.6eF7bC12") add random letters and digits; a word or a date
# in their place is none of theirs.
_RANDOM: Final = re.compile(r"\..+\.(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6}|.+\.(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{8}", re.DOTALL)

_HEAD_BYTES: Final = 20  # a field's tag and length, each a varint of at most 10 bytes
_MOST_FIELDS: Final = 4096  # more at the top of a model (functions, metadata) are not looked at
_VARINT, _SIZED = 0, 2
_MODEL_FIELDS: Final = {1: _VARINT, 5: _VARINT} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _SIZED)


def unfinished(names: Iterable[str]) -> str | None:
    """Return the first name, in order, that a tool gives to a file which it still writes; None if there is none."""
    return next((name for name in sorted(names) if name.endswith(_ENDINGS) or _RANDOM.fullmatch(name)), None)


def content_fault(path: Path, size_bytes: int) -> str | None:
    """Return why a file cannot be a whole model, or None where nothing speaks against it.

    An ONNX file says how long its parts are, so one that was cut off (or is still being written) is known without
    reading it. What is no ONNX file at all passes: ONNX Runtime says better what is wrong with it, and has formats of
    its own.

    Raises:
        OSError: the file cannot be read.
    """
    if not size_bytes:
        return "is empty"
    with path.open("rb", buffering=0) as file:
        head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            return "is a pointer of Git LFS, not the model: run 'git lfs pull'"
        if head[4:8] == b"ORTM":
            return None
        end = _wanted_bytes(file, size_bytes)
    if end <= size_bytes:
        return None
    return f"is cut off: it has {size_bytes} bytes of at least {end}; is it still being copied?"


def _wanted_bytes(file: BinaryIO, size_bytes: int) -> int:
    """Return where the last part of a model that begins within the file ends."""
    position = 0
    for _ in range(_MOST_FIELDS):
        if position >= size_bytes:
            break
        file.seek(position)
        head = file.read(_HEAD_BYTES)
        tag, tag_bytes = _varint(head)
        kind = _MODEL_FIELDS.get(tag >> 3)
        if tag_bytes and kind != tag & 7:
            return 0
        value, value_bytes = _varint(head[tag_bytes:])
        if not tag_bytes or not value_bytes:
            return size_bytes + 1 if len(head) < _HEAD_BYTES else 0
        position += tag_bytes + value_bytes + (value if kind == _SIZED else 0)
    return position


def _varint(data: bytes) -> tuple[int, int]:
    """Return the wire format's number that ``data`` begins with, and its size; (0, 0) if it does not end within it."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, index + 1
    return 0, 0
