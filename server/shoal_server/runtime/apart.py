"""A large model is examined in a process of its own, at low priority: what it costs and breaks is not the server's."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

from shoal_server.clock import MonotonicClock
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import FileDigest, Tuning
from shoal_server.runtime.batch_probe import Finding
from shoal_server.runtime.digests import digests
from shoal_server.runtime.examination import TRIALS_LIMIT_S, Examined, Examiner, open_declared
from shoal_server.runtime.graph_print import graph_print
from shoal_server.runtime.made_up import Recipe
from shoal_server.runtime.measured import LastMeasured, Measured, inheritable
from shoal_server.runtime.run_control import Watchdog
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import TensorSpec

WORTH_A_PROCESS_BYTES: Final = 16 << 20
"""A process takes half a second to start; to free a session that was only tried holds the interpreter's lock for 1 ms
for each 16 MiB."""

_ROOM_FOR_TWO_BYTES: Final = 1 << 30
_LENGTH: Final = struct.Struct("<Q")
_NICENESS: Final = 10  # SCHED_IDLE disturbs others no less, and might never end beside a server that is busy
_OFFERED_FIRST: Final = "1000"  # to the system, when it is out of memory


class NoProcessError(Exception):
    """There is no process that could examine anything; the text says why."""


class Apart:
    """Examines versions elsewhere. Blocking; from any thread. The process ends with its answer, or with the server."""

    def __init__(self, cpus: float, command: Sequence[str] = ()) -> None:
        """``command`` is what to run in place of an interpreter with our own ``main``."""
        # The same path, so that it is the same code, however the server was started; -I, so that nothing else is. To
        # import it all takes 0.3 s, so low priority comes first.
        code = (
            f"import contextlib, os, sys\nwith contextlib.suppress(OSError):\n os.nice({_NICENESS})\n"
            f"sys.path[:] = {sys.path!r}\nfrom shoal_server.runtime.apart import main\nmain()"
        )
        self.command = command or (sys.executable, "-I", "-c", code)
        self._cpus = cpus
        self._last = LastMeasured()

    def examine(self, definition: ModelDefinition, path: Path, size_bytes: int, *, alone: bool = True) -> "Report":
        """Return what was found out; ``alone`` says that the version has no other file.

        Raises:
            LoadFailed: the version cannot be served; where it brought down the process, the text says how.
            NoProcessError: it could not be examined there.
        """
        job = self.job(definition, path, size_bytes, alone=alone)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                self.command,
                bufsize=0,  # so that nothing is left to be written where it ends early
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Of a group of its own, as Ctrl-C is for the server; but of its session, by which the system may group
                # what it shares processors among: in one of its own, it would have a tenth of what strangers have.
                process_group=0,
            )
        except OSError as error:
            raise NoProcessError(f"no process can be started: {error.strerror or error}") from error
        with process:
            assert process.stdin is not None and process.stdout is not None, "both are pipes"  # noqa: PT018
            with suppress(BrokenPipeError):  # how it ended says more
                process.stdin.write(job)
            answer = process.stdout.read()
        if process.returncode == -signal.SIGKILL:
            raise NoProcessError("the process was killed, perhaps for its memory")
        if process.returncode < 0:
            how = signal.strsignal(-process.returncode) or f"signal {-process.returncode}"
            raise LoadFailed(f"it brought down the process that tried it: {how.lower()}")
        if process.returncode:
            raise NoProcessError(f"the process ended with {process.returncode}")
        report = Report(json.loads(answer))
        if report.measured is not None:
            self._last.remember(definition, report.measured)
        return report

    def job(self, definition: ModelDefinition, path: Path, size_bytes: int, *, alone: bool = True) -> bytes:
        """Return what ``main`` reads."""
        room_for_two = size_bytes <= _ROOM_FOR_TWO_BYTES
        job = pickle.dumps((definition, path, self._cpus, room_for_two, alone, self._last.find(definition)))
        return _LENGTH.pack(len(job)) + job


class Report:
    """What the process said, which is held to be true but never executed."""

    def __init__(self, said: dict[str, Any]) -> None:
        """Take it.

        Raises:
            LoadFailed: that is what it said.
        """
        if "failed" in said:
            raise LoadFailed(said["failed"])
        self.finding = Finding(*said["finding"])
        self.tuning = Tuning(**said["tuning"])
        self.invariance = InvarianceFinding(*said["invariance"])
        self.timings = tuple((int(rows), float(run_s)) for rows, run_s in said["timings"])
        self.padded = bool(said["padded"])
        self.files = tuple(FileDigest(*file) for file in said["files"])
        self.measured: Measured | None = None
        """What another version of the same graph can do with; None where this was not measured."""
        if said["graph"]:
            self.measured = Measured(said["graph"], self.finding.batched, self.tuning, self.timings)
        self._recipe: dict[str, Any] | None = said["recipe"]

    def examined(self, recipe: Recipe | None) -> Examined:
        """Return all of it."""
        return Examined(self.finding, self.tuning, self.invariance, self.timings, recipe, self.padded)

    def recipe(self, inputs: Sequence[TensorSpec]) -> Recipe | None:
        """Return what the model of these inputs runs on."""
        if self._recipe is None:
            return None
        return Recipe(
            inputs,
            frozenset(_symbol(symbol) for symbol in self._recipe["row_symbols"]),
            {_symbol(symbol): size for symbol, size in self._recipe["sizes"]},
            self._recipe["texts"],
            frozenset(self._recipe["narrow"]),
            dict(self._recipe["constants"]),
        )


def _symbol(told: str | list[int]) -> str | tuple[int, int]:
    return told if isinstance(told, str) else (told[0], told[1])


def report(examined: Examined, files: Sequence[FileDigest], graph: str = "") -> dict[str, Any]:
    """Return what ``Report`` takes; ``graph`` names what was measured, if that was."""
    recipe = examined.recipe
    return {
        "finding": list(examined.finding),
        "invariance": list(examined.invariance),
        "tuning": asdict(examined.tuning),
        "timings": examined.timings,
        "padded": examined.padded,
        "graph": graph,
        "files": [[file.name, file.sha256, file.size_bytes] for file in files],
        "recipe": recipe
        and {
            "row_symbols": [*recipe.row_symbols],
            "sizes": [*recipe.sizes.items()],
            "texts": [*recipe.texts],
            "narrow": [*recipe.narrow],
            "constants": [*recipe.constants.items()],
        },
    }


def main() -> None:
    """Read a job from the standard input, examine, and write the report to the standard output. In the process."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OFFERED_FIRST)
    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints goes nowhere
    job = pickle.loads(_read(sys.stdin.buffer))  # noqa: S301 - the server's own
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    with os.fdopen(answer, "wb") as file:
        file.write(json.dumps(_answer(*job)).encode())
        file.flush()
        # Before the server reads the end, and lets go of the other pipe. The system also takes sessions back faster
        # than their destructors.
        os._exit(0)


def _read(stream: BinaryIO) -> bytes:
    (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
    return stream.read(length)


def _end_with_the_server() -> None:
    os.read(0, 1)  # which never writes more
    os._exit(1)


def _answer(  # noqa: PLR0913, PLR0917 - the parts of a job
    definition: ModelDefinition,
    path: Path,
    cpus: float,
    room_for_two: bool,  # noqa: FBT001 - see above
    alone: bool,  # noqa: FBT001 - see above
    last: Measured | None,
) -> dict[str, Any]:
    examiner = Examiner(cpus, MonotonicClock(), time.thread_time)
    graph = graph_print(path) if inheritable(definition) else ""
    known = last if last is not None and last.graph == graph else None
    try:
        session = open_declared(definition, path, definition.runtime.intra_op_threads or 1)
        with Watchdog(TRIALS_LIMIT_S).limit() as limit:
            open_more = (lambda threads: open_declared(definition, path, threads)) if room_for_two else None
            examined, _session = examiner.examine(definition, path, session, open_more, limit, known)
        measured = known is None and examined.timings
        return report(examined, digests(path, alone=alone), graph if measured else "")
    except LoadFailed as error:
        return {"failed": str(error)}
