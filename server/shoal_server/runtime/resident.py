"""How much memory of the process is resident."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_server.lifecycle.ports import ResidentMemory

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_FORGET_PEAK: Final = b"5"
"""proc(5): resets the peak resident set size."""


class ProcessMemory:
    """Implements ``lifecycle.ports.Resident`` by Linux's /proc; where that is not, nothing is known."""

    def begin(self) -> ResidentMemory:
        """Return what there is, and count the peak from here."""
        with suppress(OSError):  # not Linux, or not allowed: the peak is then that since the start
            _CLEAR.write_bytes(_FORGET_PEAK)
        return self.look()

    def look(self) -> ResidentMemory:
        """Return what there is, and the peak."""
        try:
            lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return ResidentMemory()
        figures = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
        return ResidentMemory(_bytes(figures.get("VmRSS", "")), _bytes(figures.get("VmHWM", "")))


def _bytes(figure: str) -> int:
    """Return the bytes of a figure such as "  1234 kB"."""
    kib = figure.split()[:1]
    return int(kib[0]) << 10 if kib and kib[0].isdecimal() else 0
