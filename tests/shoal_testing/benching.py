"""`python -m shoal_bench` as a process: its lines as they come, its exit code, and the record that it leaves."""

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Bench:
    """A command that runs."""

    process: "subprocess.Popen[str]"
    record: Path

    def when_it_says(self, words: str, then: Callable[[], None]) -> None:
        """Do something as soon as it has written a line with these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                then()
                return
        raise AssertionError(f"it never said {words!r}: {self.process.communicate()}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait until it has ended; return its exit code and what it complained of."""
        _, errors = self.process.communicate(timeout=15)
        return self.process.returncode, errors

    def recorded(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.record.read_text())
        return record
