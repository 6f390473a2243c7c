"""Where a scenario is run: a server of somebody's at a target, or Shoal's own, started for it."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_bench.target import TargetError
from shoal_bench.watched import ServerFailed, WatchedProcess, own_server

_LISTENING: Final = "0A"
_LOOPBACK: Final = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\]):(\d+)")


@dataclass(frozen=True, slots=True)
class Site:
    """``process`` is None where the server's is not known, ``repository`` where its models are not ours.

    ``metrics``: where it tells Prometheus; empty where that is not known.
    """

    address: str
    process: WatchedProcess | None
    repository: Path | None
    metrics: str = ""


@contextmanager
def at_target(address: str, pid: int | None) -> Iterator[Site]:
    """Give a server that runs; its process is ``pid``, or looked for where it is on this machine.

    Raises:
        TargetError: no process has that id.
    """
    if pid is None:
        pid = listening_pid(address)
    process = None if pid is None else WatchedProcess(pid)
    if process is not None and not process.alive:
        raise TargetError(f"no process has the id {pid}")
    yield Site(address, process, None)


@contextmanager
def our_own(models: Sequence[str]) -> Iterator[Site]:
    """Start Shoal's server with models of the benchmarks, and end it afterwards.

    Raises:
        TargetError: a model is not one of them, or the server does not start, or what this takes is not installed.
    """
    try:
        from shoal_bench.models import MODELS, write_models  # noqa: PLC0415 - only who starts a server needs onnx
    except ImportError as error:
        raise TargetError(f"making the models needs {error.name}: pip install 'CHECKOUT[server,bench]'") from error
    unknown = sorted(set(models) - set(MODELS))
    if unknown:
        raise TargetError(
            f"model '{unknown[0]}' is none of the benchmarks' ({', '.join(MODELS)}); say where by --target"
        )
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as scratch:
        write_models(Path(scratch), models)
        try:
            with own_server(Path(scratch)) as (process, address):
                yield Site(address, process, Path(scratch))
        except ServerFailed as error:
            raise TargetError(str(error)) from error


def listening_pid(address: str) -> int | None:
    """Return the process that listens at an address of this machine; None where it cannot be told."""
    found = _LOOPBACK.fullmatch(address)
    if found is None:
        return None
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == int(found[2]):
                sockets.add(f"socket:[{fields[9]}]")
    if not sockets:
        return None
    owners = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _holds(entry, sockets)]
    return min(owners, default=None)


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir())
    except OSError:  # it has ended, or is not ours to look at
        return False
