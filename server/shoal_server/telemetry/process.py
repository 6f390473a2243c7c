"""What the process uses, from what the kernel keeps anyway."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Resident memory, 0 where it cannot be had, and seconds of CPU time by mode."""

    resident_bytes: int
    cpu_s: Mapping[str, float]


def usage() -> ProcessUsage:
    """Return what is used now; reads a file, so not on the loop."""
    times = os.times()
    try:
        resident_bytes = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        resident_bytes = 0
    return ProcessUsage(resident_bytes, {"user": times.user, "system": times.system})
