"""What a figure was measured on, and the file that keeps both."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = 1
_PACKAGES: Final = ("shoal", "grpcio", "protobuf", "onnxruntime", "numpy", "uvloop", "hdrhistogram")


class RecordError(Exception):
    """A file that is no record, or cannot be read or written."""


def machine() -> dict[str, object]:
    """Return the machine's and the software's description, for the record of a run."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load_average": load_average(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def load_average() -> list[float] | None:
    """Return how many processes wanted a CPU, on average over 1, 5 and 15 minutes; None where nobody says."""
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None


def write(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a record.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=1) + "\n")
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}") from error


def read(path: Path) -> dict[str, Any]:
    """Return a record.

    Raises:
        RecordError: it cannot be read, or is none of ours.
    """
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecordError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise RecordError(f"{path} is no record of these benchmarks, or one of another version")
    return value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git there is
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
