"""Memory of this very process is gathered: it holds what it held, and nothing more is resident afterwards."""

import ctypes
import mmap
import re
import sys
from pathlib import Path

import pytest

from shoal_server.runtime.huge_pages import gather
from shoal_server.runtime.resident import ProcessMemory

SIZE_BYTES = 32 << 20
SOME_BYTES = 4 << 20
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def huge_bytes(address: int) -> int | None:
    """Return how much of the mapping with an address is in huge pages; None where the system does not tell."""
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)[1:]:
        first, behind = (int(end, 16) for end in mapping.split(" ", 1)[0].split("-"))
        if first <= address < behind and (found := re.search(r"AnonHugePages: +(\d+) kB", mapping)):
            return int(found[1]) << 10
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone gathers pages")
def test_what_is_gathered_holds_what_it_held_and_takes_no_more_memory() -> None:
    with mmap.mmap(-1, SIZE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        pattern = bytes(range(251))
        memory.write((pattern * (SIZE_BYTES // len(pattern) + 1))[:SIZE_BYTES])
        before_bytes = ProcessMemory().look().now_bytes
        gather(SIZE_BYTES)
        assert ProcessMemory().look().now_bytes < before_bytes + SOME_BYTES
        memory.seek(0)
        assert memory.read() == (pattern * (SIZE_BYTES // len(pattern) + 1))[:SIZE_BYTES]
        address = ctypes.c_char.from_buffer(memory)
        gathered_bytes = huge_bytes(ctypes.addressof(address))
        del address
        kernel = tuple(map(int, re.findall(r"\d+", Path("/proc/sys/kernel/osrelease").read_text())[:2]))
        if gathered_bytes is not None and kernel >= (6, 1) and "[never]" not in THP.read_text():
            assert gathered_bytes > SIZE_BYTES // 2
