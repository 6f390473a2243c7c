"""Callers of a model of `telling_models.versioned` who keep on while something is done to it, and what they got."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

import numpy as np

from shoal_testing import models
from shoal_testing.caller import Caller, Outcome, request_of
from shoal_testing.telling_models import versioned

MODEL: Final = "m"
_ALWAYS_BATCHED: Final = '[batching]\nmode = "always"\n'
_PER_CONNECTION: Final = 4


def save_versions(folder: Path, *versions: int) -> None:
    """Write versions of the model that the callers call into a folder of models."""
    for version in versions:
        models.save(folder, MODEL, versioned(version), version)
    folder.joinpath(MODEL, "model.toml").write_text(_ALWAYS_BATCHED)


@dataclass(slots=True)
class Answers:
    """What the callers got: how often which failure, and of the others, by row, the version and the batch's rows."""

    failures: Counter[Outcome] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    versions: dict[int, int] = field(default_factory=dict)
    batches: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def take(self, row: int, outcome: Outcome) -> None:
        """Keep how a call ended whose ``x`` was the row's number, twice."""
        if outcome.status != "OK":
            self.failures[outcome] += 1
            return
        version = int(outcome.answer.model_version)
        values = outcome.array().ravel().tolist()
        if values != [row + version] * 2:
            self.wrong.append(f"row {row} of version {version}: {values}")
        self.versions[row] = version
        self.batches[row] = tuple(outcome.array("i8", output=1).ravel().tolist())

    def by_version(self) -> Counter[int]:
        """Return how many answers each version gave."""
        return Counter(self.versions.values())

    def largest_batch(self) -> int:
        """Return the number of rows of the largest batch that somebody's answer was made in."""
        return max(map(len, self.batches.values()), default=0)

    def mixed_batches(self) -> list[tuple[int, ...]]:
        """Return the batches whose rows were answered in the names of different versions."""
        return [
            batch
            for batch in self.batches.values()
            if len({self.versions[row] for row in batch if row in self.versions}) > 1
        ]


class SteadyCallers:
    """So many threads, each of which calls again as soon as it is answered, or all together ``rate`` times a second.

    Who is answered too late for the next call of a rate makes that at once.
    """

    def __init__(self, address: str, callers: int, rate: float = inf) -> None:
        self._pause_s = callers / rate
        self.answers = Answers()
        self.answered = threading.Semaphore(0)
        self._rows = count()
        self._stop = threading.Event()
        self._callers = [Caller(address) for _ in range(-(-callers // _PER_CONNECTION))]
        self._threads = [
            threading.Thread(target=self._call, args=(self._callers[number // _PER_CONNECTION],))
            for number in range(callers)
        ]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller be answered once more, and leave."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for caller in self._callers:
            caller.__exit__(None, None, None)

    def await_answers(self, number: int) -> None:
        """Wait until so many more calls have ended."""
        for _ in range(number):
            assert self.answered.acquire(timeout=15)

    def wait(self, wait_s: float) -> None:
        """Let the callers call for so long."""
        assert not self._stop.wait(wait_s)

    def _call(self, caller: Caller) -> None:
        due_s = monotonic()
        while not self._stop.wait(max(due_s - monotonic(), 0.0)):
            due_s += self._pause_s
            row = next(self._rows)
            x = np.full((1, 2), row, np.float32)
            outcome = caller.infer(request_of(MODEL, x=x, row=np.array([[row]], np.int64)))
            self.answers.take(row, outcome)
            self.answered.release()


@contextmanager
def steady_callers(address: str, callers: int, rate: float = inf) -> Iterator[SteadyCallers]:
    """Have callers call while the context lasts; afterwards all their calls have ended."""
    calling = SteadyCallers(address, callers, rate)
    calling.start()
    try:
        yield calling
    finally:
        calling.stop()
