"""`shoal` as a process: its lines as they come, and its exit code."""

import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from shoal_server.cli.root import run
from shoal_testing.fake_admin import FakeAdmin, fake_admin

WAIT_S = 50.0  # a process takes 1 s to start, and many where other tests keep the machine busy

Shoal = Callable[..., "Process"]
Ask = Callable[..., tuple[int, str, str]]


class Process:
    """A `shoal` command that runs; what it prints is read as it comes, so that a full pipe never stops it."""

    def __init__(self, *arguments: str | Path, folder: Path) -> None:
        command = [sys.executable, "-m", "shoal_server", *map(str, arguments)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.err: list[str] = []
        self._readers = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_err)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self.exit_code()

    def ready_address(self) -> str:
        """Wait for the line that says `ready`; return the address in it."""
        try:
            line = self._lines.get(timeout=WAIT_S)
        except queue.Empty:
            pytest.fail(f"no line within {WAIT_S} s; it wrote:\n{''.join(self.err)}")
        match = re.search(r"\bready\b.*?(unix:[^\s,]+|\S+:\d+)", line)
        assert match is not None, f"{line!r}; it wrote:\n{''.join(self.err)}"
        return match[1]

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Wait until it has ended."""
        code = self._process.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        return code

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")  # nobody needs to wait for a line any more

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self.err.extend(lines)


@pytest.fixture
def shoal(tmp_path: Path) -> Iterator[Shoal]:
    """Starts `shoal` with arguments, in an empty folder; what still runs after the test is killed."""
    processes: list[Process] = []

    def start(*arguments: str | Path) -> Process:
        processes.append(Process(*arguments, folder=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.__exit__()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """Serves a folder for all tests of a module; returns the address."""
    processes: list[Process] = []

    def start(models: Path) -> str:
        folder = tmp_path_factory.mktemp("empty")
        processes.append(Process("serve", models, "--address", "127.0.0.1:0", folder=folder))
        return processes[-1].ready_address()

    yield start
    for process in processes:
        process.__exit__()


@pytest.fixture
def served() -> Iterator[tuple[str, FakeAdmin]]:
    with fake_admin() as served:
        yield served


@pytest.fixture
def fake(served: tuple[str, FakeAdmin]) -> FakeAdmin:
    return served[1]


@pytest.fixture
def ask(served: tuple[str, FakeAdmin], capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command against the server; returns exit code, output and errors."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--address", served[0]])
        return code, *capsys.readouterr()

    return run_it
