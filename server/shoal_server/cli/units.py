"""Figures as people read them."""

from datetime import UTC, datetime
from typing import Final

_MINUTE_S: Final = 60.0
_LONG_S: Final = 2 * _MINUTE_S  # up to here seconds are easier to compare than minutes


def duration(seconds: float) -> str:
    """Return a time that something took: `0.42 ms`, `431 ms`, `1.24 s`, `2 min 05 s`."""
    if seconds < 0.01:  # noqa: PLR2004 - 10 ms
        return f"{seconds * 1e3:.2f} ms"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < _LONG_S:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def size(size_bytes: int) -> str:
    """Return a number of bytes: `512 B`, `1.5 KiB`, `95.1 MiB`, `3.0 GiB`; negative for what has shrunk."""
    if abs(size_bytes) < 1 << 10:
        return f"{size_bytes} B"
    for unit, bits in (("KiB", 10), ("MiB", 20)):
        if abs(size_bytes) < 1 << (bits + 10):
            return f"{size_bytes / (1 << bits):.1f} {unit}"
    return f"{size_bytes / (1 << 30):.1f} GiB"


def local_time(unix_s: float) -> str:
    """Return a moment of the wall clock in the time of this machine: `2026-11-25 16:40:29 +0100`."""
    return f"{datetime.fromtimestamp(unix_s, UTC).astimezone():%Y-%m-%d %H:%M:%S %z}"
