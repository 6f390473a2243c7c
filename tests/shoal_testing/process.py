"""`shoal serve` as a process of its own, for what a process can be made to suffer."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from shoal_testing import server as testing

WAIT_S: Final = 15.0
_ADDRESS: Final = re.compile(r"\bready on (\S+:\d+)")


class ServerProcess:
    """A server in ``folder``; what it prints is read as it comes, so that a full pipe never stops it."""

    def __init__(
        self, *arguments: str | Path, folder: Path, variables: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "shoal_server", "serve", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, **variables},  # noqa: TID251 - what a shell passes on
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        self._wrote = threading.Condition()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=lambda lines, take: [take(line) for line in lines], args=pair)
            for pair in ((self.process.stdout, self._lines.put), (self.process.stderr, self._take_error))
        ]
        for reader in self._readers:
            reader.start()

    def ready_address(self) -> str:
        """Wait until it is ready; return its address."""
        try:
            line = self._lines.get(timeout=WAIT_S)
        except queue.Empty:
            raise AssertionError(f"not ready within {WAIT_S} s; it wrote {self.errors}") from None
        found = _ADDRESS.search(line)
        assert found is not None, line
        return found[1].rstrip(",")

    def wait_for_error(self, words: str) -> None:
        """Wait until it has written these words to where errors go."""
        with self._wrote:
            assert self._wrote.wait_for(lambda: any(words in line for line in self.errors), WAIT_S), self.errors

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _take_error(self, line: str) -> None:
        with self._wrote:
            self.errors.append(line)
            self._wrote.notify_all()

    def exit_code(self) -> int:
        """Wait until it has ended and all that it wrote is in ``errors``."""
        code = self.process.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        return code

    def descriptors(self) -> int:
        """Return how many files and connections it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def resident_bytes(self, *, peak: bool = False) -> int:
        """Return its memory, or the most that it had since ``forget_peak``."""
        wanted = "VmHWM" if peak else "VmRSS"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(wanted):
                return int(line.split()[1]) << 10
        raise AssertionError("it has ended")

    def forget_peak(self) -> None:
        """Let the peak begin anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def server_process(
    *arguments: str | Path, folder: Path, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[ServerProcess]:
    """Run `shoal serve` with these arguments on any free port; what still runs at the end is killed.

    ``variables`` are added to its environment.
    """
    where = ("--address", "127.0.0.1:0", "--transport", testing.transport)
    server = ServerProcess(*arguments, *where, folder=folder, variables=variables)
    try:
        yield server
    finally:
        server.process.kill()
        server.exit_code()
        for pipe in (server.process.stdout, server.process.stderr):
            assert pipe is not None
            pipe.close()
