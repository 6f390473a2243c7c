"""Swapping a model's version while callers go on calling: what is done, and what each time showed."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from shoal_bench.target import Target, TargetError

_VERSIONS_KEPT: Final = 2
_END_LIMIT_S: Final = 60.0
_MOST: Final = 100_000


class Swapper(Protocol):
    """Puts the next version of a model in the place of the one that serves; blocks until that is done."""

    def swap(self) -> None:
        """Swap once.

        Raises:
            TargetError: the server did not.
        """
        ...


class AdminSwap:
    """Swaps by Shoal's SwapVersion: to a copy made for it where the ``repository`` is ours, else to another version."""

    def __init__(self, target: Target, model: str, repository: Path | None) -> None:
        self._target = target
        self._model = model
        self._folder = None if repository is None else repository / model

    def swap(self) -> None:
        """Swap once; see ``Swapper``."""
        current, versions = self._target.versions(self._model)
        if self._folder is not None:
            next_version = _copy_newest(self._folder)
        else:
            others = [version for version in versions if version != current]
            if not others:
                raise TargetError(f"model '{self._model}' has only version {current}, and no other to swap it with")
            next_version = others[0]
        self._target.swap(self._model, next_version)


class RepositoryLoad:
    """Swaps by the protocol's own RepositoryModelLoad, which other servers with a repository have."""

    def __init__(self, target: Target, model: str) -> None:
        self._target = target
        self._model = model

    def swap(self) -> None:
        """Swap once; see ``Swapper``."""
        self._target.load(self._model)


def swapper_for(target: Target, model: str, repository: Path | None) -> Swapper:
    """Return the best way that the server offers."""
    if target.has_admin():
        return AdminSwap(target, model, repository)
    return RepositoryLoad(target, model)


def _copy_newest(folder: Path) -> int:
    """Put a copy of the newest version beside it, and remove old ones; return the copy's number."""
    versions = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())
    copied = folder / ".next"
    shutil.copytree(folder / str(versions[-1]), copied)
    copied.rename(folder / str(versions[-1] + 1))  # whole, or not there
    for version in versions[: -_VERSIONS_KEPT + 1]:
        shutil.rmtree(folder / str(version))
    return versions[-1] + 1


@dataclass(frozen=True, slots=True)
class Swap:
    """One swap: when it began, in seconds after the swapping did; how long it took; why it failed, if it did."""

    at_s: float
    took_s: float
    error: str


@contextmanager
def swapping(swapper: Swapper, every_s: float) -> Iterator[list[Swap]]:
    """Swap every so many seconds, on a thread, while the block runs; the list grows as it does."""
    swaps: list[Swap] = []
    leave = threading.Event()
    began_s = time.monotonic()

    def swap() -> None:
        while not leave.wait(every_s) and len(swaps) < _MOST:
            at_s = time.monotonic()
            error = ""
            try:
                swapper.swap()
            except (TargetError, OSError) as failure:
                error = str(failure)
            swaps.append(Swap(at_s - began_s, time.monotonic() - at_s, error))

    thread = threading.Thread(target=swap, name="swapping", daemon=True)
    thread.start()
    try:
        yield swaps
    finally:
        leave.set()
        thread.join(_END_LIMIT_S)
