"""What takes long to build, built by one of the processes that share a run of the tests."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def built_once(factory: pytest.TempPathFactory, worker_id: str, name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder that ``build`` has filled; the others wait meanwhile. ``worker_id`` is pytest-xdist's fixture."""
    base = factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder, mark = shared / name, shared / f"{name}.built"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            folder.mkdir()
            build(folder)
            mark.touch()
    return folder
