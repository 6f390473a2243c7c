"""A server under measurement, as a process: started and ended here, or somebody else's, known by its id."""

import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from shoal_bench.process import SERVE

_READY_LIMIT_S: Final = 60.0
_END_LIMIT_S: Final = 10.0
_ADDRESS: Final = re.compile(r"ready on (127\.0\.0\.1:\d+)")
_LINES_KEPT: Final = 40


class ServerFailed(Exception):
    """A server that was started here ended before it was ready, or was not ready in time."""


class WatchedProcess:
    """A process and those that it has started, as proc(5) shows them. It may end at any time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return _status(self.pid) not in ("", "Z")

    def cpu_s(self) -> float:
        """Return the seconds of CPU time that it and its children have used so far, in user mode and in the kernel.

        Zero where it has ended.
        """
        return sum(_cpu_s(pid) for pid in self._family())

    def waited_s(self) -> float:
        """Return the seconds that its living threads were ready to run and had no CPU; 0 where nobody says."""
        waited_ns = 0
        for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread may end at any time
                waited_ns += int(task.read_text().split()[1])
        return waited_ns / 1e9

    def resident_bytes(self) -> int:
        """Return the memory that it and its children have in RAM; shared pages count for each."""
        return sum(_resident_bytes(pid) for pid in self._family())

    def _family(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        family = [self.pid]
        for pid in family:
            family += children.get(pid, [])
        return family


class StartedProcess(WatchedProcess):
    """A process that was started here; what it writes is read as it comes, and the last lines are kept."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        super().__init__(process.pid)
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)
        assert process.stdout is not None, "it was started with a pipe"
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ready_address(self) -> str:
        """Wait until it says where it is ready, and return that.

        Raises:
            ServerFailed: it ended before, or said nothing in time; with what it wrote.
        """
        while True:
            try:
                line = self._lines.get(timeout=_READY_LIMIT_S)
            except queue.Empty:
                raise ServerFailed(f"the server was not ready within {_READY_LIMIT_S:.0f} s") from None
            if not line:
                raise ServerFailed(f"the server ended with {self._process.wait()} before it was ready: {self.said()}")
            if found := _ADDRESS.search(line):
                return found[1]

    def said(self) -> str:
        """Return the last that it wrote."""
        return " ".join("".join(self._last).split()) or "it wrote nothing"

    def end(self) -> None:
        """Ask it to end, and see to it."""
        self._process.terminate()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_END_LIMIT_S)

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._last.append(line)
                if self._lines.qsize() < _LINES_KEPT:
                    self._lines.put(line)
        self._lines.put("")


@contextmanager
def started(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[StartedProcess]:
    """Run a command for as long as the block lasts; ``environment`` adds to ours.

    Raises:
        OSError: it cannot be started.
    """
    process = StartedProcess(
        subprocess.Popen(  # noqa: S603 - our own command lines
            list(map(str, command)),
            cwd=folder,
            env={**os.environ, **(environment or {})},  # noqa: TID251 - what is started gets what we have
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for us: we end it when we have read what it has to tell
        )
    )
    try:
        yield process
    finally:
        process.end()


@contextmanager
def own_server(models: Path, *flags: str) -> Iterator[tuple[StartedProcess, str]]:
    """Run Shoal's server over a folder of models, with further flags; give it and its address.

    Raises:
        ServerFailed: it ended before it was ready, or was not ready in time.
    """
    command: list[str | Path] = [sys.executable, *SERVE, models, "--address", "127.0.0.1:0"]
    command += flags
    with started(command) as server:
        yield server, server.ready_address()


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    # Of children that have ended, too: user, system, children's user, children's system.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _resident_bytes(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields else 0
